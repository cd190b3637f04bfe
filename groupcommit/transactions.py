"""A transaction that has the right to write from its first statement on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from django.db import OperationalError, connection, transaction

from groupcommit import outages
from groupcommit.connections import forget_timeout

LOCK_RETRY_SECONDS = 0.0003


@contextmanager
def write_transaction(lock_seconds: float | None = None, flush: bool = True) -> Iterator[None]:
    """Like `transaction.atomic()`, but fair among processes on SQLite.

    SQLite itself waits for its write lock in longer and longer sleeps, up to 100 ms, and may
    never get it beside a process that takes it again and again. This tries every 0.3 ms,
    and raises OperationalError if it does not get the lock in time: 20 s, or what outages.py
    allows a process that answers requests.
    https://www.sqlite.org/c3ref/busy_timeout.html

    Without `flush`, SQLite's commit does not wait for the disk. It survives a killed process. It
    survives a power cut only if a later commit was flushed, which flushes all before it.
    https://www.sqlite.org/pragma.html#pragma_synchronous
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic():
            yield
        return
    with nullcontext() if flush else unflushed():
        block = lock_database(outages.lock_seconds() if lock_seconds is None else lock_seconds)
        try:
            yield
        except BaseException as error:
            block.__exit__(type(error), error, error.__traceback__)
            raise
        block.__exit__(None, None, None)


@contextmanager
def unflushed() -> Iterator[None]:
    """Let commits on this thread's connection to SQLite not wait for the disk."""
    connection.ensure_connection()
    sqlite = connection.connection
    (before,) = sqlite.execute("PRAGMA synchronous").fetchone()
    sqlite.execute("PRAGMA synchronous = NORMAL")
    try:
        yield
    finally:
        sqlite.execute(f"PRAGMA synchronous = {before}")


def lock_database(lock_seconds: float) -> transaction.Atomic:
    """Enter an atomic block, which takes SQLite's write lock, and return it."""
    deadline = time.monotonic() + lock_seconds
    connection.ensure_connection()
    sqlite = connection.connection
    sqlite.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            block = transaction.atomic()
            try:
                block.__enter__()
                return block
            except outages.NoAnswer:
                raise  # another statement in this thread has just timed out
            except OperationalError:
                if time.monotonic() > deadline:
                    raise
                forget_timeout(connection)
                time.sleep(LOCK_RETRY_SECONDS)
    finally:
        sqlite.execute(f"PRAGMA busy_timeout = {outages.lock_seconds() * 1000:.0f}")
