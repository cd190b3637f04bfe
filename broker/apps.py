"""The embedded queue as a Django app."""

from django.apps import AppConfig


class BrokerConfig(AppConfig):
    name = "broker"
    verbose_name = "Embedded queue"
