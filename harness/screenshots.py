"""Take the screenshots that the README and docs/ show: `python -m harness.screenshots`.

A site is started, a job is run to its end and another one to its sixth step, and the pages are
kept as they are then. Needs chromium; run it again whenever a page has changed.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, expect, sync_playwright

from harness.chromium import launch
from harness.processes import ROOT, site

FOLDER = ROOT / "docs" / "screenshots"
WIDE = {"width": 900, "height": 620}


def start(page: Page) -> None:
    page.get_by_role("button", name="Start Background Job").click()


def show_home(page: Page) -> None:
    """The home page with a job that has succeeded and one that runs."""
    start(page)
    expect(page.locator("#jobs .succeeded")).to_be_visible(timeout=30_000)
    start(page)
    expect(page.locator("#jobs progress").first).to_have_attribute("value", "6", timeout=30_000)


def take(folder: Path) -> list[Path]:
    """Take every screenshot. Return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as data, site(Path(data)) as running, sync_playwright() as playwright:
        running.start_web()
        browser = launch(playwright)
        page = browser.new_page(viewport=WIDE, device_scale_factor=2)
        page.goto(running.url)
        show_home(page)
        file = folder / "home.png"
        page.screenshot(path=file)
        browser.close()
    return [file]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    for file in take(parser.parse_args().folder):
        print(file)
