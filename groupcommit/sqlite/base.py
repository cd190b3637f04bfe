"""Django's backend for SQLite, with our limits on waiting for the lock.

No message passes here.
https://docs.djangoproject.com/en/6.1/ref/databases/#subclassing-the-built-in-database-backends
"""

from typing import Any

from django.db.backends.sqlite3 import base, features

from groupcommit.connections import Impatient, disk
from groupcommit.outages import lock_seconds


class DatabaseFeatures(features.DatabaseFeatures):
    """Known without a query, so that the system checks need no database, as with PostgreSQL."""

    supports_json_field = True


class DatabaseWrapper(Impatient, base.DatabaseWrapper):
    """A connection that waits for other processes' locks as long as its thread may."""

    features_class = DatabaseFeatures

    failures_before = 0

    def close_if_unusable_or_obsolete(self) -> None:
        """Close it also after the disk has failed in this process.

        What was opened on a read-only disk stays read-only until the process has closed all of
        its connections: they share the index of the write-ahead log.
        """
        if self.connection is not None and self.failures_before != disk.failures:
            self.close()
        super().close_if_unusable_or_obsolete()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self.failures_before = disk.failures
        return super().get_new_connection(conn_params)

    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "timeout": lock_seconds()}
