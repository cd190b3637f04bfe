"""A transaction that has the right to write from its first statement on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError, connection, transaction

LOCK_SECONDS = 20.0
LOCK_RETRY_SECONDS = 0.001


@contextmanager
def write_transaction(lock_seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """`transaction.atomic()`, taking fair turns with other processes on SQLite.

    SQLite's own way of waiting for its write lock sleeps longer and longer, up to 100 ms,
    and starves beside a process that takes the lock again and again. Here the lock is asked
    for every millisecond; OperationalError if it is not to be had in time.
    https://www.sqlite.org/c3ref/busy_timeout.html
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        with transaction.atomic():
            yield
        return
    block = lock_database(lock_seconds)
    try:
        yield
    except BaseException as error:
        block.__exit__(type(error), error, error.__traceback__)
        raise
    block.__exit__(None, None, None)


def lock_database(lock_seconds: float) -> transaction.Atomic:
    """An atomic block that has been entered, and with it SQLite's write lock."""
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
            except OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOCK_RETRY_SECONDS)
    finally:
        sqlite.execute(f"PRAGMA busy_timeout = {LOCK_SECONDS * 1000:.0f}")
