"""What an operator needs beside the site, as a Django app: checks, doctor, limits, metrics."""

from django.apps import AppConfig
from django.conf import settings


class MetricsConfig(AppConfig):
    """The metrics alone, for `manage.py broker`."""

    name = "operations"

    def ready(self) -> None:
        if settings.METRICS_TOKEN:
            from operations.instruments import connect

            connect()


class OperationsConfig(MetricsConfig):
    """All of them, for the site."""

    default = True

    def ready(self) -> None:
        """Register the checks of `manage.py check --deploy` as well."""
        from operations import checks

        super().ready()
        checks.register_all()
