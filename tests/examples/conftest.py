"""The browser of tests/browser, for the examples."""

from tests.browser.conftest import browse, chromium

__all__ = ["browse", "chromium"]
