"""The queue's pages as a Django app."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"

    def ready(self) -> None:
        """Register what knows of changes; see live/sources.py."""
        from console import live_source, queue_status
        from live.sources import Part, register, register_part

        register(live_source.read_logged, every_seconds=live_source.EVERY_SECONDS)
        register(live_source.read_letters, every_seconds=live_source.EVERY_SECONDS)
        register(queue_status.read_changes, every_seconds=queue_status.FRESH_SECONDS)
        register_part(Part(queue_status.TOPIC, queue_status.version, queue_status.render))
