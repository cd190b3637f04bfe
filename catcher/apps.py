"""The request catcher as a Django app."""

from django.apps import AppConfig


class CatcherConfig(AppConfig):
    name = "catcher"
    verbose_name = "Request catcher"

    def ready(self) -> None:
        """Register what knows of changes; see live/sources.py."""
        from catcher.live_source import read_bins, read_caught
        from catcher.pane import pane_of
        from live.sources import register, register_kind

        register(read_caught)
        register(read_bins)
        register_kind("caught", pane_of)
