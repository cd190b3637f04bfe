"""How a dispatcher learns that a message is due without asking all the time.

A message has just been committed. Dispatchers of the same process are called directly;
those of other processes notice that the database has changed: on PostgreSQL by
LISTEN/NOTIFY, on SQLite by looking at `PRAGMA data_version`, a number in shared memory.
"""

import asyncio
import sqlite3
from collections.abc import Callable

import psycopg
from django.db import connection, transaction

CHANNEL = "broker_due"
# https://www.sqlite.org/pragma.html#pragma_data_version
LOOK_SECONDS = 0.02

type Listener = Callable[[], None]

_listeners: dict[Listener, Callable[[], Listener | None]] = {}


def listen(listener: Listener, take: Callable[[], Listener | None] = lambda: None) -> None:
    """Call a function, from any thread, whenever this process has stored a message.

    `take` is called before, in the transaction that stores it, and may give another function
    to be called in this one's place: an idle dispatcher claims the message right there and
    saves itself a transaction.
    """
    _listeners[listener] = take


def unlisten(listener: Listener) -> None:
    _listeners.pop(listener, None)


def on_commit() -> None:
    """Wake every dispatcher once the present transaction has committed."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")
    for listener, take in tuple(_listeners.items()):
        transaction.on_commit(take() or listener)


async def watch(changed: Callable[[], None]) -> None:
    """Call `changed` after each commit of another process; runs until cancelled."""
    if connection.vendor == "postgresql":
        await watch_postgresql(changed)
    else:
        await watch_sqlite(changed)


async def watch_sqlite(changed: Callable[[], None]) -> None:
    """Look at the database's version number; it takes microseconds and no lock."""
    looker = sqlite3.connect(connection.settings_dict["NAME"], check_same_thread=False)
    try:
        seen = None
        while True:
            (version,) = looker.execute("PRAGMA data_version").fetchone()
            if version != seen:
                seen = version
                changed()
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        looker.close()


async def watch_postgresql(changed: Callable[[], None]) -> None:
    """Wait for notifications on a connection of its own."""
    parameters = connection.get_connection_params()
    for ours in ("cursor_factory", "context", "prepare_threshold", "pool"):
        parameters.pop(ours, None)
    listener = await psycopg.AsyncConnection.connect(**parameters, autocommit=True)
    async with listener:
        await listener.execute(f"LISTEN {CHANNEL}")
        changed()
        async for _ in listener.notifies():
            changed()
