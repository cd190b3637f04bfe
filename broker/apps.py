"""The embedded queue as a Django app."""

import atexit

from django.apps import AppConfig
from django.db import connections


class BrokerConfig(AppConfig):
    name = "broker"
    verbose_name = "Embedded queue"

    def ready(self) -> None:
        atexit.register(close_pools)


def close_pools() -> None:
    """Close the pools of connections while their threads still listen.

    Left to the end of the interpreter, psycopg waits 20 s for threads that are gone by then.
    https://docs.djangoproject.com/en/6.1/ref/databases/#connection-pool
    """
    for connection in connections.all(initialized_only=True):
        if hasattr(connection, "close_pool"):
            connection.close()
            connection.close_pool()
