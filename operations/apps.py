"""What an operator needs beside the site, as a Django app: checks, doctor, limits, metrics."""

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "operations"

    def ready(self) -> None:
        """Register the checks of `manage.py check --deploy`."""
        from operations import checks

        checks.register_all()
