"""Django's backend for SQLite, with our limits on waiting for the lock.

No message passes here.
https://docs.djangoproject.com/en/6.1/ref/databases/#subclassing-the-built-in-database-backends
"""

from typing import Any

from django.db.backends.sqlite3 import base, features

from groupcommit.connections import Impatient, disk
from groupcommit.outages import lock_seconds

NORMAL = 1  # https://www.sqlite.org/pragma.html#pragma_synchronous


class DatabaseFeatures(features.DatabaseFeatures):
    """Known without a query, so that the system checks need no database, as with PostgreSQL."""

    supports_json_field = True


class DatabaseWrapper(Impatient, base.DatabaseWrapper):
    """A connection that waits for other processes' locks as long as its thread may.

    `waits` and `flushes` are for the next transaction: whether it waits for the lock at all, and
    its commit for the disk. SQLite is told when something changes, not for each transaction: a
    small job then ends 0.1 ms sooner.
    https://www.sqlite.org/pragma.html
    """

    features_class = DatabaseFeatures

    failures_before = 0
    transaction_mode: str | None
    waits = flushes = True

    def prepare(self) -> None:
        """Tell SQLite how long to wait, and whether to flush."""
        self.ensure_connection()
        wait_ms = round(1000 * lock_seconds()) if self.waits else 0
        self.set_pragma("busy_timeout", wait_ms)
        self.set_pragma("synchronous", self.level if self.flushes else min(self.level, NORMAL))

    def set_pragma(self, name: str, value: int) -> None:
        if self.pragmas.get(name) != value:
            self.connection.execute(f"PRAGMA {name} = {value}")
            self.pragmas[name] = value

    def _cursor(self, name: str | None = None) -> Any:
        if not self.in_atomic_block:
            self.prepare()
        return super()._cursor(name)

    def _start_transaction_under_autocommit(self) -> None:
        """Begin as Django does, which uses a cursor of its own."""
        self.refuse_after_timeout()
        self.prepare()
        with self.wrap_database_errors:
            self.connection.execute(f"BEGIN {self.transaction_mode or ''}")

    def begin_block(self) -> None:
        """Begin the outermost atomic block, and set what Django's `atomic` sets."""
        self._start_transaction_under_autocommit()
        self.autocommit = self.needs_rollback = False
        self.in_atomic_block = self.commit_on_exit = True

    def end_block(self) -> None:
        """End the block after its commit, and call what waits for that."""
        self.in_atomic_block, self.autocommit = False, True
        if self.run_on_commit:
            self.run_and_clear_commit_hooks()

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
        connection = super().get_new_connection(conn_params)
        (self.level,) = connection.execute("PRAGMA synchronous").fetchone()
        self.pragmas: dict[str, int] = {}
        return connection

    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "timeout": lock_seconds()}
