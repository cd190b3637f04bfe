"""How a dispatcher learns that a message is due without asking all the time.

A message has just been committed. Dispatchers of the same process are called directly. On SQLite,
a dispatcher of another process is woken by a byte in a named pipe beside the file; should that be
missed, all of them soon notice that the file has changed. On PostgreSQL, notifications.py does it.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from time import monotonic, process_time

from django.db import connection, transaction

from broker import notifications
from broker.clock import now_ms
from groupcommit.connections import disk

# How often to look at `PRAGMA data_version`, a number in shared memory that commits change. It
# is for what nobody rang for: whoever was killed just then, or may not write to the pipe.
# https://www.sqlite.org/pragma.html#pragma_data_version
LOOK_SECONDS = 0.1
# A dispatcher that another has relieved claims only what has been due for this long. The one on
# duty ignores changes for as long after a ring: it has just claimed whatever was due, and another
# claim in the middle of a job delays the job by 0.06 ms on average.
LATE_MS = 400
# A process that has used more than this of a core since the last look is busy.
BUSY_SHARE = 0.9

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


def on_commit(is_notified: bool = False) -> None:
    """Wake this process's dispatchers, and the one on duty, once the transaction has committed.

    `is_notified` says that the transaction has notified PostgreSQL's listeners already.
    """
    if connection.vendor != "postgresql":
        transaction.on_commit(ring)
    elif not is_notified:
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {notifications.CHANNEL}")
    for listener in tuple(_listeners):
        transaction.on_commit(listener())


def pipe() -> str:
    """The path of this database's named pipe: `/srv/db.sqlite3-wake`."""
    return f"{connection.settings_dict['NAME']}-wake"


def ring() -> None:
    """Wake the dispatcher that is on duty, if there is one.
    https://man7.org/linux/man-pages/man7/fifo.7.html
    """
    with contextlib.suppress(OSError):  # nobody listens, or there are rings enough in the pipe
        descriptor = os.open(pipe(), os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, b"!")
            # Linux wakes a pipe's reader on the writer's core, where it would wait for the writer.
            # This let an idle site end a small job in 4.8 ms instead of 7.2.
            os.sched_yield()
        finally:
            os.close(descriptor)


def open_pipe() -> int:
    """Make the pipe, if there is none, and open it. OSError if it cannot be made or locked here."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(pipe(), 0o600)
    # For writing, too: else there would be an end of file when a publisher closes it.
    descriptor = os.open(pipe(), os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Watch:
    """Wake a dispatcher when another process has committed something.

    Of the dispatchers on a machine, one is `on_duty`: publishers wake only that one, because two
    that race for each message wait for each other's locks. The others take what is late. When the
    one on duty is full, or its process needs a whole core, another relieves it. On SQLite, with two
    web processes, this raised small jobs from 630 to 690 a second.
    """

    def __init__(
        self,
        changed: Callback,
        is_full: Callable[[], bool] = lambda: False,
        cpu_seconds: Callable[[], float] = process_time,
    ) -> None:
        self.changed, self.is_full, self.cpu_seconds = changed, is_full, cpu_seconds
        self.on_duty, self.is_relieved = True, False
        self.descriptor: int | None = None
        self.looked_at = self.used = self.ignores_until = 0.0

    async def run(self) -> None:
        """Call `changed` soon after another process has committed; runs until cancelled."""
        if connection.vendor == "postgresql":
            await notifications.listen(self)
        else:
            await self.watch_sqlite()

    async def watch_sqlite(self) -> None:
        """Listen at the pipe, and look at the database's version number, which takes no lock.

        OperationalError once the disk has failed: then all connections must be opened again.
        """
        failures = disk.failures
        watching = sqlite3.connect(connection.settings_dict["NAME"], check_same_thread=False)
        with contextlib.closing(watching), self.at_the_pipe():
            seen = None
            while failures == disk.failures:
                self.change_duty()
                (version,) = watching.execute("PRAGMA data_version").fetchone()
                if version != seen and monotonic() >= self.ignores_until:
                    seen = version
                    self.changed()
                    if self.is_relieved:
                        self.ignore_changes()
                await asyncio.sleep(LOOK_SECONDS)
        raise sqlite3.OperationalError("the disk has failed")

    @contextlib.contextmanager
    def at_the_pipe(self) -> Iterator[None]:
        """Open the pipe, and close it at the end: whoever closes it is not on duty any more."""
        try:
            self.descriptor = open_pipe()
        except OSError:  # no pipe in this place, so there is only the looking
            yield
            return
        self.on_duty = False
        try:
            yield
        finally:
            if self.on_duty:  # an event loop must not know a descriptor that is closed
                self.leave_duty(self.descriptor)
            os.close(self.descriptor)
            self.descriptor, self.on_duty, self.is_relieved = None, True, False

    def late_since(self) -> int:
        """Since when a message must have been due to be late (unix ms)."""
        return now_ms() - LATE_MS

    def is_busy(self) -> bool:
        """Whether this process has used a core nearly all the time since the last look."""
        now, used = monotonic(), self.cpu_seconds()
        share = (used - self.used) / max(now - self.looked_at, LOOK_SECONDS)
        self.looked_at, self.used = now, used
        return share > BUSY_SHARE

    def change_duty(self) -> None:
        """Take the duty if nobody has it. If busy, leave it for one look at least, and go on if
        no other has taken it then.
        """
        is_full, is_busy = self.is_full(), self.is_busy()
        if self.descriptor is None:
            return
        if self.on_duty and (is_full or is_busy):
            self.leave_duty(self.descriptor)
        elif not self.on_duty and not is_full:
            self.take_duty(self.descriptor)

    def take_duty(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another dispatcher has it
            self.is_relieved = True
        else:
            asyncio.get_running_loop().add_reader(descriptor, self.on_ring, descriptor)
            if self.is_relieved:  # the other may have read a ring and not got round to claiming
                self.changed()
            self.on_duty, self.is_relieved = True, False

    def leave_duty(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        self.on_duty = False

    def on_ring(self, descriptor: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(descriptor, 4096)
            self.changed()
            self.ignore_changes()

    def ignore_changes(self) -> None:
        """Do nothing about what the looks see, for a while."""
        self.ignores_until = monotonic() + LATE_MS / 1000
