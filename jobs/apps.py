"""The tutorial's jobs as a Django app."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class JobsConfig(AppConfig):
    name = "jobs"
    verbose_name = "Background jobs"

    def ready(self) -> None:
        """Import every app's `tasks` module: a message may come before anything else does."""
        autodiscover_modules("tasks")
