"""How dispatchers on PostgreSQL learn that a message is due: by LISTEN and NOTIFY.

A message has just been committed, and its publisher has sent a notification with it. Of the
dispatchers on a machine, one listens: the one that holds an advisory lock, which PostgreSQL
releases when its connection ends. The others look from time to time whether something is late.
https://www.postgresql.org/docs/current/sql-notify.html
"""

import socket
from typing import TYPE_CHECKING, Any
from zlib import crc32

from django.db import connection

if TYPE_CHECKING:
    from broker.wakeup import Watch

CHANNEL = "broker_due"
# The lock's first number; the second is the machine's.
# https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADVISORY-LOCKS
DUTY = 7_180_318
# How often to look who is on duty, and whether something is late.
LOOK_SECONDS = 0.25
TAKE_DUTY = """
    SELECT pg_try_advisory_lock(%s, %s), %s >= LEAST(
        (SELECT MIN(due_at) FROM broker_message), (SELECT MIN(due_at) FROM broker_queue),
        (SELECT MIN(due_at) FROM broker_flowcontrol), (SELECT MIN(next_at) FROM broker_schedule))
"""
# Have the server, too, notice within ten seconds that the other machine is gone: it would keep the
# lock. https://www.postgresql.org/docs/current/runtime-config-connection.html#RUNTIME-CONFIG-TCP
NOTICE_THE_END = (
    "SET tcp_keepalives_idle = 4; SET tcp_keepalives_interval = 2;"
    " SET tcp_keepalives_count = 3; SET tcp_user_timeout = 10000"
)


async def listen(watch: "Watch") -> None:
    """Call the watch's `changed` after each commit of another process; runs until cancelled.

    OperationalError once the connection is lost.
    """
    import psycopg  # here, as a site on SQLite starts 0.3 s sooner without it

    parameters = connection.get_connection_params()
    for ours in ("cursor_factory", "context", "prepare_threshold", "pool"):
        parameters.pop(ours, None)
    listening = await psycopg.AsyncConnection.connect(**parameters, autocommit=True)
    async with listening:
        watch.on_duty = False
        try:
            await listening.execute(NOTICE_THE_END)
            await listening.execute(f"LISTEN {CHANNEL}")
            await change_duty(watch, listening)
            watch.changed()
            while True:
                async for _ in listening.notifies(timeout=LOOK_SECONDS):
                    watch.changed()
                await change_duty(watch, listening)
        finally:
            watch.on_duty, watch.is_relieved = True, False


async def change_duty(watch: "Watch", listening: Any) -> None:
    """Take the duty if nobody has it, and leave it if busy, as wakeup.py does on SQLite.

    Whoever has left it keeps listening until another has taken it.
    """
    is_full, is_busy = watch.is_full(), watch.is_busy()
    if watch.on_duty and (is_full or is_busy):
        await listening.execute("SELECT pg_advisory_unlock_all()")
        watch.on_duty = False
    elif not watch.on_duty and not is_full:
        await take_duty(watch, listening)


async def take_duty(watch: "Watch", listening: Any) -> None:
    cursor = await listening.execute(TAKE_DUTY, [DUTY, machine(), watch.late_since()])
    has_lock, is_late = await cursor.fetchone()
    if has_lock == watch.is_relieved:  # somebody else is on duty now
        await listening.execute(f"{'LISTEN' if has_lock else 'UNLISTEN'} {CHANNEL}")
    if (has_lock and watch.is_relieved) or is_late:
        watch.changed()
    watch.on_duty, watch.is_relieved = has_lock, not has_lock


def machine() -> int:
    """A number of this machine, as an advisory lock takes it: 32 bits with a sign."""
    return crc32(socket.gethostname().encode()) - 2**31
