"""Outages of a database, real ones: how each begins and ends. For tests/outage_rounds.py."""

import os
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from django.db import connections

from harness.postgresql import Cluster
from harness.waiting import eventually
from tests.outage_proxy import Proxy

type Outage = Callable[[float], None]
type Restart = Callable[[Callable[[], None]], None]

DISK_MEGABYTES = {"sqlite": 64, "postgresql": 300}
MOST_CONNECTIONS = 40


class DiskCluster(Cluster):
    """A PostgreSQL whose tables are on a disk that can be filled; its log of commits is not."""

    def run(self, program: str, *arguments: str) -> None:
        if program == "initdb":
            arguments += (f"--waldir={self.wal}",)
        super().run(program, *arguments)

    def start(self) -> "DiskCluster":
        self.wal = Path(tempfile.mkdtemp())
        if os.getuid() == 0:
            shutil.chown(self.wal, "postgres")
        super().start()
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET max_connections = {MOST_CONNECTIONS}")
        self.halt("fast")
        self.launch()
        return self

    def stop(self) -> None:
        super().stop()
        shutil.rmtree(self.wal, ignore_errors=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[bool]:
    """A file system in memory at a folder, if this user may mount one; whether it is there."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, seconds: float) -> None:
    """Fill a disk to the last byte, and free it again."""
    filler = folder / "filler"
    ends_at = time.monotonic() + seconds
    try:
        with filler.open("wb", buffering=0) as file:
            while time.monotonic() < ends_at:
                try:
                    file.write(b"\0" * 4096)
                except OSError:
                    time.sleep(0.02)
    finally:
        filler.unlink()


class SQLiteOutages:
    """`restart` kills all processes of the site, calls what it is given, and starts them again."""

    def __init__(self, file: Path, has_disk: bool, restart: Restart) -> None:
        self.file, self.restart = file, restart
        self.kinds: dict[str, Outage] = {"locked": self.locked}
        if has_disk:
            self.kinds |= {"disk full": self.disk_full, "read-only": self.read_only}

    def locked(self, seconds: float) -> None:
        """Another process has begun to write, and thinks."""
        other = sqlite3.connect(self.file, timeout=60, isolation_level=None)
        try:
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(seconds)
            other.execute("COMMIT")
        finally:
            other.close()

    def disk_full(self, seconds: float) -> None:
        fill(self.file.parent, seconds)

    def read_only(self, seconds: float) -> None:
        """The machine has come up with its disk read-only."""
        self.restart(lambda: self.remount("ro"))
        time.sleep(seconds)
        self.remount("rw")

    def remount(self, how: str) -> None:
        """As soon as nobody has a file open any more."""
        connections.close_all()
        command = ["mount", "-o", f"remount,{how}", self.file.parent]
        eventually(lambda: subprocess.run(command, capture_output=True).returncode == 0, 10, how)


class NetworkOutages:
    """The network between the site and PostgreSQL fails."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.kinds: dict[str, Outage] = {
            "network gone": lambda seconds: self.with_network("refuse", seconds),
            "network silent": lambda seconds: self.with_network("hang", seconds),
            "commits unanswered": lambda seconds: self.with_network("cut", seconds),
        }

    def with_network(self, mode: str, seconds: float) -> None:
        self.proxy.be(mode)
        time.sleep(seconds)
        self.proxy.be("pass")


class PostgreSQLOutages(NetworkOutages):
    """The site comes through a proxy, `url` leads to the server itself."""

    def __init__(self, cluster: Cluster, url: str, proxy: Proxy, disk: Path | None) -> None:
        super().__init__(proxy)
        self.cluster, self.url, self.disk = cluster, url, disk
        self.kinds |= {
            "stopped": self.stopped,
            "restarted": self.restarted,
            "out of connections": self.out_of_connections,
            "connections cut": self.connections_cut,
            "table locked": self.table_locked,
            "lanes locked": self.lanes_locked,
            "read-only": self.read_only,
        }
        if disk:
            self.kinds["disk full"] = self.disk_full

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            yield connection

    def stopped(self, seconds: float) -> None:
        self.cluster.halt()
        time.sleep(seconds)
        self.cluster.launch()
        self.cluster.watch()

    def restarted(self, seconds: float) -> None:
        self.cluster.halt("fast")
        self.cluster.launch()
        self.cluster.watch()

    def out_of_connections(self, seconds: float) -> None:
        """Somebody else takes all that there are, and those of the site."""
        ends_at = time.monotonic() + seconds
        with ExitStack() as stack:
            first = stack.enter_context(psycopg.connect(self.url, autocommit=True))
            self.cut(first)
            while time.monotonic() < ends_at:
                with suppress(psycopg.OperationalError):
                    stack.enter_context(psycopg.connect(self.url, autocommit=True))
                    continue
                time.sleep(0.05)

    def cut(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def connections_cut(self, seconds: float) -> None:
        """Again and again."""
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            with self.connected() as connection:
                self.cut(connection)
            time.sleep(0.3)

    def table_locked(self, seconds: float) -> None:
        with self.connected() as connection, connection.transaction():
            connection.execute("LOCK TABLE broker_message, jobs_job IN ACCESS EXCLUSIVE MODE")
            time.sleep(seconds)

    def lanes_locked(self, seconds: float) -> None:
        from broker.lanes import LOCK

        with self.connected() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
            time.sleep(seconds)

    def read_only(self, seconds: float) -> None:
        self.set_read_only("on")
        time.sleep(seconds)
        self.set_read_only("off")

    def set_read_only(self, how: str) -> None:
        with self.connected() as connection:
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {how}")
            connection.execute("SELECT pg_reload_conf()")

    def disk_full(self, seconds: float) -> None:
        assert self.disk
        fill(self.disk, seconds)
