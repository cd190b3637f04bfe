"""The tutorial's other examples as a Django app."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class RecipesConfig(AppConfig):
    name = "recipes"
    verbose_name = "Examples"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import every module with a task: a message may come before anything else does."""
        autodiscover_modules("emails", "images", "delays", "schedules", "callbacks", "url_groups")
