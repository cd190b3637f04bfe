"""The request catcher as a Django app."""

from django.apps import AppConfig


class CatcherConfig(AppConfig):
    name = "catcher"
    verbose_name = "Request catcher"
