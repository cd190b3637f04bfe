"""The live updates of open pages as a Django app."""

from django.apps import AppConfig


class LiveConfig(AppConfig):
    name = "live"
