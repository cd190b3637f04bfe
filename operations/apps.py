"""What an operator needs beside the site, as a Django app: checks, doctor, limits, metrics."""

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "operations"
