"""How long N jobs take that are started at once: `uv run benchmarks/long_task.py`.

Starts the production server on an empty database and a sink for the ten requests, starts N jobs,
and waits until the last one has succeeded. Every figure is of this run; the last lines name the
limits that were missed. With `--in-process` a Django process publishes the jobs in a plain loop;
by default N browsers, each with a session and a CSRF token, click at once. `--database postgresql`
starts a PostgreSQL for this run, whose CPU and memory are not counted. `--check` exits with 1 if a
limit was missed.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import psutil
import requests

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.alone import add_option, refuse_beside_others
from benchmarks.deliveries_site import DatabaseServer, Watcher, database_server
from benchmarks.fast_sink import running_sink
from benchmarks.figures import Figure, moment, percentile, show_missed
from benchmarks.startup import wait_until_started
from harness.processes import Site, collect_static, exit_on_sigterm, site, start_process
from harness.visitor import TOKEN

PAUSES_SECONDS = 5.0
LIMITS = {
    "in process": {1: 1.01, 10: 1.02, 100: 1.06, 1000: 1.30},
    "by clicks": {1: 1.02, 10: 1.03, 100: 1.10, 1000: 1.60},
}
MOST_MEMORY_MB = 300
PAGE_P95_MS = 250
IDLE_LIMITS_MS = {"partial p95": 40, "sink p50": 25, "sink p95": 60}
# How long jobs may take at all, whatever else the machine has to do.
PATIENCE_SECONDS = 600


class Server:
    """gunicorn with two workers, as in production, and what it costs."""

    def __init__(self, site: Site) -> None:
        self.site, self.url = site, site.url
        self.watcher = Watcher(site.environment["DATABASE_URL"])
        self.process = site.start_web()
        self.peak_memory = 0.0

    def processes(self) -> list[psutil.Process]:
        master = psutil.Process(self.process.pid)
        return [master, *master.children(recursive=True)]

    def cpu_seconds(self) -> float:
        times = [process.cpu_times() for process in self.processes()]
        return sum(t.user + t.system for t in times)

    def look_at_memory(self) -> None:
        """What the processes take of the machine: pages they share count once."""
        used = sum(process.memory_full_info().pss for process in self.processes()) / 1e6
        self.peak_memory = max(self.peak_memory, used)


@contextmanager
def running(database: DatabaseServer) -> Iterator[tuple[Server, str]]:
    """A sink and a server for one row of the table; both are stopped afterwards."""
    own = {"PYTHONWARNINGS": "", "WEB_CONCURRENCY": "2"}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        running_sink() as sink,
        site(Path(folder), database.new(), LONG_TASK_TARGET_URL=sink, **own) as installed,
    ):
        server = Server(installed)
        wait_until_started(server.cpu_seconds)
        yield server, sink


async def start_in_process(server: Server, count: int) -> float:
    """Let a Django process publish, once it has started; the moment of its first publish."""
    with server.site.log.open("ab") as log:
        publisher = start_process(
            ["-m", "benchmarks.long_task_publisher", str(count)],
            env=server.site.environment | {"PUBLIC_URL": server.url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    server.site.processes.append(publisher)
    await asyncio.to_thread(publisher.stdout.readline)  # "ready"
    output, _ = await asyncio.to_thread(publisher.communicate, "go\n")
    if publisher.returncode:
        raise SystemExit(f"publishing failed:\n{server.site.log.read_text()[-5000:]}")
    return json.loads(output)["first"]


class Browser:
    """A visitor with the page open: session cookie, CSRF cookie and the form's token."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def open(self) -> "Browser":
        async with self.session.get(self.url) as response:
            self.token = TOKEN.search(await response.text())[1]
            self.cookie = "; ".join(f"{c.key}={c.value}" for c in response.cookies.values())
        return self

    async def click(self) -> tuple[float, float, str]:
        """(when, seconds to the answered partial, job id)"""
        at = time.time()
        async with self.session.post(
            f"{self.url}/jobs/start",
            data={"csrfmiddlewaretoken": self.token},
            headers={"Cookie": self.cookie, "HX-Request": "true"},
        ) as response:
            text = await response.text()
            assert "Started job with ID msg_" in text, text
            return at, time.time() - at, re.search(r'id="job-([0-9a-f]+)"', text)[1]


def client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )


async def start_by_clicks(server: Server, count: int) -> float:
    """Open N pages one after another, then click all at once; the moment of the first click."""
    async with client() as session:
        browsers = [await Browser(session, server.url).open() for _ in range(count)]
        clicks = await asyncio.gather(*(browser.click() for browser in browsers))
        return min(at for at, _, _ in clicks)


async def look_at_page(server: Server, times_ms: list[float]) -> None:
    """Ask for `/` again and again while the jobs run."""
    async with client() as session:
        while True:
            started = time.perf_counter()
            async with session.get(server.url) as response:
                await response.read()
            times_ms.append(1000 * (time.perf_counter() - started))
            await asyncio.sleep(0.05)


async def until_all_succeeded(server: Server, count: int, starting: asyncio.Task) -> float:
    """Wait for the last success; its moment in unix seconds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if starting.done():
            starting.result()  # raises what went wrong
        server.look_at_memory()
        done, last = server.watcher.connection.execute(
            "SELECT count(*), max(finished_at) FROM jobs_job WHERE status = 'succeeded'"
        ).fetchone()
        if done == count:
            return moment(last)
        await asyncio.sleep(0.1)
    raise SystemExit(f"only {done} of {count} jobs succeeded within {PATIENCE_SECONDS} s")


async def measure(mode: str, count: int, database: DatabaseServer) -> dict:
    """One row of the table."""
    start = start_in_process if mode == "in process" else start_by_clicks
    with running(database) as (server, sink):
        server.look_at_memory()
        page_ms: list[float] = []
        cpu = server.cpu_seconds()
        starting = asyncio.create_task(start(server, count))
        looking = asyncio.create_task(look_at_page(server, page_ms)) if count >= 1000 else None
        last = await until_all_succeeded(server, count, starting)
        makespan = last - await starting
        if looking:
            looking.cancel()
        seen = requests.get(sink, timeout=60).json()["requests"]
        assert seen == 10 * count, f"the sink got {seen} requests for {count} jobs"
        return {
            "jobs": count,
            "makespan": makespan,
            "ratio": makespan / PAUSES_SECONDS,
            "limit": LIMITS[mode].get(count),
            "cpu": server.cpu_seconds() - cpu,
            "memory": server.peak_memory,
            "page": percentile(page_ms, 95) if page_ms else None,
        }


async def measure_idle(clicks: int, database: DatabaseServer) -> dict[str, float]:
    """Single clicks on an idle server: to the partial, and to the first request."""
    with running(database) as (server, sink):
        partial, first = [], []
        async with client() as session:
            browser = await Browser(session, server.url).open()
            for _ in range(clicks):
                at, seconds, job = await browser.click()
                partial.append(1000 * seconds)
                await asyncio.sleep(0.25)
                first.append((at, job))
        seen = await until_arrived(sink, [job for _, job in first])
        to_sink = [1000 * (seen[job] - at) for at, job in first]
        return {
            "partial p50": percentile(partial, 50),
            "partial p95": percentile(partial, 95),
            "sink p50": percentile(to_sink, 50),
            "sink p95": percentile(to_sink, 95),
        }


async def until_arrived(sink: str, jobs: list[str]) -> dict[str, float]:
    """Wait for the first request of each job; their moments in unix seconds, by job."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        seen = requests.get(sink, timeout=60).json()["first"]
        if seen.keys() >= set(jobs):
            return seen
        await asyncio.sleep(0.1)
    raise SystemExit(f"{len(set(jobs) - seen.keys())} jobs have not sent their first request")


def show(mode: str, rows: list[dict], database: str) -> None:
    print(f"\n{mode}, {os.cpu_count()} cores, gunicorn with 2 workers, {database}\n")
    print("|     N | makespan | / 5.0 s | limit | CPU s | peak MB | page p95 ms |")
    print("|------:|---------:|--------:|------:|------:|--------:|------------:|")
    for row in rows:
        page = f"{row['page']:.0f}" if row["page"] else "-"
        limit = f"{row['limit']:.2f}" if row["limit"] else "-"
        print(
            f"| {row['jobs']:5} | {row['makespan']:6.2f} s | {row['ratio']:7.3f} | {limit:>5} "
            f"| {row['cpu']:5.1f} | {row['memory']:7.0f} | {page:>11} |",
            flush=True,
        )


def limited(rows: list[dict], idle: dict[str, float]) -> list[Figure]:
    """The figures that have a limit."""
    figures = []
    for row in rows:
        n = f"N={row['jobs']}"
        figures.append(Figure(f"{n}, makespan / 5.0 s", row["ratio"], "", row["limit"]))
        figures.append(Figure(f"{n}, peak memory", row["memory"], "MB", MOST_MEMORY_MB))
        if row["page"]:
            figures.append(Figure(f"{n}, page p95", row["page"], "ms", PAGE_P95_MS))
    figures += [
        Figure(f"idle, {name}", idle[name], "ms", limit)
        for name, limit in IDLE_LIMITS_MS.items()
        if idle
    ]
    return figures


def main() -> None:
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--in-process", action="store_true", help="publish in a plain loop")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--idle-clicks", type=int, default=60, help="0 leaves them out")
    parser.add_argument("--check", action="store_true", help="fail over a limit")
    add_option(parser)
    options = parser.parse_args()
    refuse_beside_others(options)
    collect_static()
    mode = "in process" if options.in_process else "by clicks"
    with database_server(options.database) as database:
        rows = [asyncio.run(measure(mode, count, database)) for count in options.jobs]
        show(mode, rows, options.database)
        clicks = options.idle_clicks
        idle = asyncio.run(measure_idle(clicks, database)) if clicks else {}
    if idle:
        figures = ", ".join(f"{name} {value:.1f} ms" for name, value in idle.items())
        print(f"\nidle, {options.idle_clicks} single clicks: {figures}")
    if show_missed(limited(rows, idle)) and options.check:
        sys.exit(1)


if __name__ == "__main__":
    main()
