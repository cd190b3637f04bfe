"""What a measurement of the queue needs: a site on an empty database, a sink, a look inside.

A message is published here or there, delivered to the sink, and settled; `Watcher` sees from
outside, in the database, how far it has come. Nothing is read from the processes themselves.
"""

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg

from harness.postgresql import Cluster
from harness.processes import ROOT, Site, migrate, site
from harness.waiting import eventually

TOKEN = "only-for-this-benchmark"  # noqa: S105


class Figure(NamedTuple):
    """One line of a table. `target` is a lower bound for rates, an upper one for the rest."""

    name: str
    value: float
    unit: str
    target: float | None = None

    @property
    def short(self) -> bool:
        if self.target is None:
            return False
        return self.value < self.target if self.unit == "/s" else self.value > self.target

    def shown(self, value: float) -> str:
        digits = 0 if value >= 100 else 1 if value >= 20 else 2
        return f"{value:,.{digits}f} {self.unit}".strip()


def show(title: str, figures: list[Figure], database: str) -> None:
    """Print a measurement as a table, ready for the README."""
    print(f"\n{title}; {os.cpu_count()} cores, {database}\n")
    width = max(len(figure.name) for figure in figures)
    print(f"| {'':{width}} |     measured | target            |       |")
    print(f"|:{'-' * width}-|-------------:|:------------------|-------|")
    for figure in figures:
        bound = "at least" if figure.unit == "/s" else "at most"
        target = f"{bound} {figure.shown(figure.target)}" if figure.target else ""
        print(
            f"| {figure.name:{width}} | {figure.shown(figure.value):>12} | {target:17} "
            f"| {'short' if figure.short else '':5} |",
            flush=True,
        )


def percentile(values: list[float], percent: int) -> float:
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


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


class Inside:
    """A process with Django in it that does as it is told: see queue_inside.py."""

    def __init__(self, site: Site) -> None:
        with site.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.queue_inside"],
                cwd=ROOT,
                env=site.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.log = site.log
        site.processes.append(self.process)

    def ask(self, task: str, **arguments: object) -> dict:
        """Have a function of queue_inside.py run, once Django has started; its answer."""
        print(json.dumps([task, arguments]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{task} failed:\n{self.log.read_text()[-5000:]}")
        return json.loads(answer)


class House:
    """A site of its own for one measurement, and whatever runs beside it."""

    def __init__(self, site: Site, sink: str) -> None:
        self.site, self.sink = site, sink
        self.database_url = site.environment["DATABASE_URL"]
        self.watcher = Watcher(self.database_url)

    def inside(self) -> Inside:
        return Inside(self.site)

    def start_dispatcher(self) -> subprocess.Popen:
        """`manage.py run_dispatcher`, once it has shown its first pulse."""
        already = self.watcher.dispatchers()
        process = self.site.start_dispatcher()
        self.until_dispatching(already + 1)
        return process

    def until_dispatching(self, count: int) -> None:
        eventually(lambda: self.watcher.dispatchers() == count, what="the dispatchers' start")

    def until_delivered(self, count: int, seconds: float) -> None:
        """Wait for so many deliveries; look the more rarely, the more rows there are to count."""
        deadline = time.monotonic() + seconds
        while (delivered := self.watcher.delivered()) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"only {delivered} of {count} messages in {seconds:.0f} s")
            time.sleep(max(0.005, count / 200_000))


class Builder:
    """Builds houses on one database server; a context, as it may have to start that."""

    def __init__(self, database: str) -> None:
        self.database, self.stack = database, ExitStack()
        self.cluster: Cluster | None = None

    def __enter__(self) -> "Builder":
        if self.database == "postgresql":
            self.cluster = self.stack.enter_context(Cluster())
            with psycopg.connect(self.cluster.url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE site")
            migrate(f"{self.cluster.url.rpartition('/')[0]}/site")
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    @contextmanager
    def house(self, held_seconds: float = 0, **environment: str) -> Iterator[House]:
        """A site on an empty database, and a sink that answers after `held_seconds`."""
        url = self.cluster.new_database(template="site") if self.cluster else ""
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            running_sink(held_seconds) as sink,
            site(
                Path(folder),
                url,
                **{"BROKER_TOKEN": TOKEN, "RUN_DISPATCHER": "0"} | environment,
            ) as running,
        ):
            yield House(running, sink)


@contextmanager
def running_sink(held_seconds: float) -> Iterator[str]:
    """benchmarks/sink.py in a process of its own; its URL."""
    sink = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sink", str(held_seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield f"http://127.0.0.1:{int(sink.stdout.readline())}/"
    finally:
        sink.terminate()
        sink.wait()
