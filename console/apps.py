"""The app of the queue's pages. No message passes here."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"
