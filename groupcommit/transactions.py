"""A transaction that has the right to write from its first statement on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.db import DEFAULT_DB_ALIAS, OperationalError, connections, transaction

from groupcommit import outages
from groupcommit.connections import forget_timeout

LOCK_RETRY_SECONDS = 0.0003


@contextmanager
def write_transaction(
    lock_seconds: float | None = None, flush: bool = True, by_itself: bool = False
) -> Iterator[None]:
    """Like `transaction.atomic()`, but fair among processes on SQLite.

    SQLite itself waits for its write lock in longer and longer sleeps, up to 100 ms, and may
    never get it beside a process that takes it again and again. This tries every 0.3 ms,
    and raises OperationalError if it does not get the lock in time: 20 s, or what outages.py
    allows a process that answers requests.
    https://www.sqlite.org/c3ref/busy_timeout.html

    Without `flush`, the commit does not wait for the disk. It survives the death of this process.
    It survives a power cut, and on PostgreSQL a crash of the server, only if a later commit was
    flushed, which flushes all before it.
    https://www.sqlite.org/pragma.html#pragma_synchronous
    https://www.postgresql.org/docs/current/wal-async-commit.html

    What is written `by_itself` is one statement, which on PostgreSQL is a transaction anyway.
    """
    database: Any = connections[DEFAULT_DB_ALIAS]
    if database.in_atomic_block:
        with transaction.atomic():
            yield
        return
    database.flushes = flush
    try:
        if database.vendor != "sqlite":
            database.ensure_connection()
            with nullcontext() if by_itself else transaction.atomic():
                yield
            return
        seconds = outages.lock_seconds() if lock_seconds is None else lock_seconds
        with OutermostBlock(database, seconds):
            yield
    finally:
        database.flushes = True


class OutermostBlock(transaction.Atomic):
    """The outermost atomic block on SQLite.

    Django makes some thirty calls to find out what is known here. A small job takes four such
    transactions; on an idle machine it ended after 3.82 ms instead of 3.95.
    """

    def __init__(self, database: Any, lock_seconds: float) -> None:
        super().__init__(database.alias, savepoint=True, durable=False)
        self.database, self.lock_seconds = database, lock_seconds

    def __enter__(self) -> None:
        """Take SQLite's write lock."""
        deadline = time.monotonic() + self.lock_seconds
        self.database.waits = False
        try:
            while not self.begin(deadline):
                time.sleep(LOCK_RETRY_SECONDS)
        finally:
            self.database.waits = True
        self.database.atomic_blocks.append(self)

    def begin(self, deadline: float) -> bool:
        """Begin now; False if another process has the lock, and there is time to try again."""
        try:
            self.database.begin_block()
        except outages.NoAnswer:
            raise  # another statement in this thread has just timed out
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            forget_timeout(self.database)
            return False
        return True

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if exc_type or self.database.needs_rollback:
            super().__exit__(exc_type, exc_value, traceback)
            return
        try:
            with self.database.wrap_database_errors:
                self.database.connection.commit()
        except BaseException as error:  # whatever it was, Django rolls back
            super().__exit__(type(error), error, error.__traceback__)
            raise
        self.database.atomic_blocks.pop()
        self.database.end_block()
