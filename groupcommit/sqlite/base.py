"""Django's backend for SQLite, with our limits on waiting for the lock.

No message passes here.
https://docs.djangoproject.com/en/6.1/ref/databases/#subclassing-the-built-in-database-backends
"""

from typing import Any

from django.db.backends.sqlite3 import base

from groupcommit.connections import Impatient
from groupcommit.outages import lock_seconds


class DatabaseFeatures(base.DatabaseFeatures):
    """Known without a query, so that the system checks need no database, as with PostgreSQL."""

    supports_json_field = True


class DatabaseWrapper(Impatient, base.DatabaseWrapper):
    """A connection that waits for other processes' locks as long as its thread may."""

    features_class = DatabaseFeatures

    def is_usable(self) -> bool:
        """Not after an error of the disk: what was opened while it was read-only stays so."""
        return not self.disk_has_failed and super().is_usable()

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self.disk_has_failed = False
        return super().get_new_connection(conn_params)

    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "timeout": lock_seconds()}
