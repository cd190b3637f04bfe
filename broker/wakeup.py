"""How a dispatcher learns that a message is due without asking all the time.

A message has just been committed. Dispatchers of the same process are called directly;
those of other processes notice that the database has changed: on PostgreSQL by
LISTEN/NOTIFY, on SQLite by looking at `PRAGMA data_version`, a number in shared memory.
"""

import asyncio
import sqlite3
from collections.abc import Callable

from django.db import connection, transaction

from groupcommit.connections import disk

CHANNEL = "broker_due"
# https://www.sqlite.org/pragma.html#pragma_data_version
LOOK_SECONDS = 0.02

type Callback = Callable[[], None]
type Listener = Callable[[], Callback]

_listeners: set[Listener] = set()


def listen(listener: Listener) -> None:
    """Call a listener, from any thread, whenever this process stores something that is due.

    It is called in the transaction that stores, and returns what to call after the commit.
    """
    _listeners.add(listener)


def unlisten(listener: Listener) -> None:
    _listeners.discard(listener)


def on_commit() -> None:
    """Wake every dispatcher once the present transaction has committed."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")
    for listener in tuple(_listeners):
        transaction.on_commit(listener())


async def watch(changed: Callback) -> None:
    """Call `changed` after each commit of another process; runs until cancelled."""
    if connection.vendor == "postgresql":
        await watch_postgresql(changed)
    else:
        await watch_sqlite(changed)


async def watch_sqlite(changed: Callback) -> None:
    """Look at the database's version number; this takes microseconds and no lock.

    OperationalError once the disk has failed: then all connections must be opened again.
    """
    failures = disk.failures
    watching = sqlite3.connect(connection.settings_dict["NAME"], check_same_thread=False)
    try:
        seen = None
        while failures == disk.failures:
            (version,) = watching.execute("PRAGMA data_version").fetchone()
            if version != seen:
                seen = version
                changed()
            await asyncio.sleep(LOOK_SECONDS)
        raise sqlite3.OperationalError("the disk has failed")
    finally:
        watching.close()


async def watch_postgresql(changed: Callback) -> None:
    """Wait for notifications on a connection of its own."""
    import psycopg  # here, as a site on SQLite starts 0.3 s sooner without it

    parameters = connection.get_connection_params()
    for ours in ("cursor_factory", "context", "prepare_threshold", "pool"):
        parameters.pop(ours, None)
    watching = await psycopg.AsyncConnection.connect(**parameters, autocommit=True)
    async with watching:
        await watching.execute(f"LISTEN {CHANNEL}")
        changed()
        async for _ in watching.notifies():
            changed()
