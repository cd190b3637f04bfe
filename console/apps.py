"""The queue's pages as a Django app."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"

    def ready(self) -> None:
        """Register what knows of changes; see live/sources.py."""
        from console.live_source import EVERY_SECONDS, read_logged
        from live.sources import register

        register(read_logged, every_seconds=EVERY_SECONDS)
