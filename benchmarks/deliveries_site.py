"""What a measurement of the queue needs: a site on an empty database, a sink, a watcher.

A message is published, delivered to the sink, and settled; `Watcher` reads in the database how
far it has come. Nothing is read from the processes themselves.
"""

import json
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.fast_sink import running_sink
from harness.postgresql import Cluster
from harness.processes import START_SECONDS, Site, migrate, site, start_process
from harness.waiting import eventually

TOKEN = "only-for-this-benchmark"  # noqa: S105


class Watcher:
    """A connection of our own that only looks."""

    def __init__(self, url: str) -> None:
        if url.startswith("sqlite"):
            file = url.removeprefix("sqlite:///")
            self.connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        else:
            self.connection = psycopg.connect(url, autocommit=True)

    def number(self, sql: str) -> int:
        return self.connection.execute(sql).fetchone()[0]

    def delivered(self) -> int:
        return self.number("SELECT count(*) FROM broker_message WHERE state = 'DELIVERED'")

    def is_delivered(self, message_id: str) -> bool:
        one = f"message_id = '{message_id}' AND state = 'DELIVERED'"
        return self.number(f"SELECT count(*) FROM broker_message WHERE {one}") == 1  # noqa: S608

    def dispatchers(self) -> int:
        return self.number("SELECT count(*) FROM broker_pulse")


class DjangoProcess:
    """A process with Django in it that runs a function on demand: see deliveries_process.py."""

    def __init__(self, site: Site) -> None:
        with site.log.open("ab") as log:
            self.process = start_process(
                ["-m", "benchmarks.deliveries_process"],
                env=site.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.log = site.log
        site.processes.append(self.process)

    def ask(self, function: str, **arguments: object) -> dict:
        """Have a function run, once Django has started; its answer."""
        print(json.dumps([function, arguments]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{function} failed:\n{self.log.read_text()[-5000:]}")
        return json.loads(answer)


class QueueSite:
    """A site of its own for one measurement, and whatever runs beside it."""

    def __init__(self, site: Site, sink: str) -> None:
        self.site, self.sink = site, sink
        self.watcher = Watcher(site.environment["DATABASE_URL"])

    def start_django(self) -> DjangoProcess:
        return DjangoProcess(self.site)

    def start_dispatcher(self) -> subprocess.Popen:
        """`manage.py run_dispatcher`, once it has shown its first pulse."""
        already = self.watcher.dispatchers()
        process = self.site.start_dispatcher()
        self.until_dispatching(already + 1)
        return process

    def until_dispatching(self, count: int) -> None:
        eventually(
            lambda: self.watcher.dispatchers() >= count, START_SECONDS, "the dispatchers' start"
        )

    def until_delivered(self, count: int, seconds: float) -> None:
        """Wait for so many deliveries; look the more rarely, the more rows there are to count."""
        deadline = time.monotonic() + seconds
        while (delivered := self.watcher.delivered()) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"only {delivered} of {count} messages in {seconds:.0f} s")
            time.sleep(max(0.005, count / 200_000))


class DatabaseServer:
    """SQLite, or a PostgreSQL server; makes sites, each on an empty database of its own."""

    def __init__(self, name: str, cluster: Cluster | None = None) -> None:
        self.name, self.cluster = name, cluster

    def new(self) -> str:
        """The URL of a new database; empty for SQLite, whose file `site` puts into its folder."""
        return self.cluster.new_database(template="site") if self.cluster else ""

    @contextmanager
    def site(self, held_seconds: float = 0, **environment: str) -> Iterator[QueueSite]:
        """A site, and a sink that answers after `held_seconds`."""
        own = {"BROKER_TOKEN": TOKEN, "PYTHONWARNINGS": "", "RUN_DISPATCHER": "0"}
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            running_sink(held_seconds) as sink,
            site(Path(folder), self.new(), **own | environment) as running,
        ):
            yield QueueSite(running, sink)


@contextmanager
def database_server(name: str) -> Iterator[DatabaseServer]:
    """The server to measure on; PostgreSQL is started, and stopped at the end."""
    if name == "sqlite":
        yield DatabaseServer(name)
        return
    with Cluster() as cluster:
        with psycopg.connect(cluster.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE site")
        migrate(f"{cluster.url.rpartition('/')[0]}/site")
        yield DatabaseServer(name, cluster)
