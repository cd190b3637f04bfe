"""The tutorial's jobs as a Django app."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Background jobs"

    def ready(self) -> None:
        """Import every app's `tasks` module: a message may come before anything else does."""
        autodiscover_modules("tasks")
        self.tell_open_pages()

    def tell_open_pages(self) -> None:
        """Register what knows of changes; see live/sources.py."""
        from jobs import live_source
        from live.sources import register

        register(live_source.read_changed)
        register(live_source.read_log, every_seconds=live_source.ASK_SECONDS)
        register(live_source.read_unsettled, every_seconds=live_source.ASK_SECONDS)
