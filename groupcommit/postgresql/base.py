"""Django's backend for PostgreSQL, with our limits on waiting for connections and statements.

No message passes here. Django takes connections from psycopg's pool. A thread that answers
requests does not wait in the pool while the server refuses connections, gets none that the server
has cut, and cancels a statement that takes too long.
https://docs.djangoproject.com/en/6.1/ref/databases/#subclassing-the-built-in-database-backends
"""

import select
import threading
import time
from contextlib import suppress
from typing import Any, Self

import psycopg
from django.db.backends.postgresql import base
from psycopg.errors import _WaitTimeout
from psycopg_pool import PoolTimeout

from groupcommit.connections import Impatient
from groupcommit.outages import (
    PATIENT_SECONDS,
    PAUSE_SECONDS,
    NoAnswer,
    connect_seconds,
    is_limited,
    is_patient,
    statement_seconds,
)

# How often to look whether the server has refused a connection that is being waited for.
LOOK_SECONDS = 0.2
# How soon the pool gives up. Each request for a connection makes it try again.
RECONNECT_SECONDS = 0.1
CANCEL_SECONDS = 0.4
# A `def` task keeps its connection until it ends. All of them together leave so many of the pool's
# for the writer and for requests.
NOT_FOR_TASKS = 2


class Refusals:
    """The last time that the server did not let this process connect, and why."""

    def __init__(self) -> None:
        self.at, self.error = float("-inf"), psycopg.OperationalError()

    def note(self, error: psycopg.OperationalError) -> None:
        self.at, self.error = time.monotonic(), error

    def check(self, since: float) -> None:
        """Raise the server's reason if it has refused since then."""
        if self.at >= since:
            raise type(self.error)(*self.error.args) from self.error


refusals = Refusals()


class Silence(psycopg.OperationalError):
    """The server has not answered a statement in time."""

    sqlstate = "57014"  # as if it had cancelled the statement itself


class Connection(psycopg.Connection[Any]):
    """A connection that waits for a statement as long as the present thread may."""

    @classmethod
    def connect(cls, *args: Any, **kwargs: Any) -> Self:
        try:
            return super().connect(*args, **kwargs)
        except psycopg.OperationalError as error:
            refusals.note(error)
            raise

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, timeout or statement_seconds())
        except _WaitTimeout:
            if timeout:
                raise
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=CANCEL_SECONDS)
        self.pgconn.finish()
        raise Silence("it has not answered in time")


def check_connection(connection: Connection) -> None:
    """Raise OperationalError if the server has cut a connection that the pool is about to lend.

    This takes a microsecond, not a round trip: a server with nothing to answer sends nothing
    unless it closes the connection. If it has cut one, it has probably cut others too.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        connection.close()
        pool: Any = connection._pool
        pool.drain()
        raise psycopg.OperationalError("the server has cut the connection")


class DatabaseWrapper(Impatient, base.DatabaseWrapper):
    """Django's wrapper, which each thread has one of.

    `flushes` is for the present transaction: whether its commit waits for the disk (raw.py).
    """

    flushes = True
    _task_shares: dict[str, threading.Semaphore] = {}  # {alias: what tasks may still take}
    share: threading.Semaphore | None = None  # what this one has taken of it

    def __init__(self, settings_dict: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        if pool := settings_dict["OPTIONS"].get("pool"):
            pool |= {
                "check": check_connection,
                "connection_class": Connection,
                "timeout": LOOK_SECONDS,
                "reconnect_timeout": RECONNECT_SECONDS,
            }
        super().__init__(settings_dict, *args, **kwargs)

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """A connection from the pool, or the reason why there is none."""
        if not (self.pool and is_patient()):
            return self.wait_for_connection(conn_params)
        most = self.settings_dict["OPTIONS"]["pool"].get("max_size", NOT_FOR_TASKS)
        share = threading.Semaphore(max(1, most - NOT_FOR_TASKS))
        share = self._task_shares.setdefault(self.alias, share)
        if not share.acquire(timeout=PATIENT_SECONDS):
            raise NoAnswer("it has no connection left for this process")
        self.share = share
        try:
            return self.wait_for_connection(conn_params)
        except BaseException:
            self.return_share()
            raise

    def wait_for_connection(self, conn_params: dict[str, Any]) -> Any:
        began = time.monotonic()
        if is_limited():
            refusals.check(began - PAUSE_SECONDS)
        while True:
            try:
                return super().get_new_connection(conn_params)
            except PoolTimeout:
                if is_limited():
                    refusals.check(began)
                if time.monotonic() - began > connect_seconds():
                    raise NoAnswer("it has no connection left for this process") from None

    def return_share(self) -> None:
        if self.share:
            self.share.release()
            self.share = None

    def _close(self) -> Any:
        try:
            return super()._close()  # type: ignore[misc]
        finally:
            self.return_share()
