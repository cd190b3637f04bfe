"""How long N jobs take that are started at once: `uv run benchmarks/long_task.py`.

Starts the production server on an empty SQLite database and a sink for the ten requests,
starts N jobs, and waits until the last one has succeeded. Every figure is of this run. With
`--in-process` a Django process publishes the jobs in a plain loop; by default N browsers,
each with a session and a CSRF token, click at once. `--check` exits with 1 if a figure is
over its limit.
"""

import argparse
import asyncio
import json
import os
import re
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import psutil
import requests

ROOT = Path(__file__).resolve().parent.parent
PAUSES_SECONDS = 5.0
LIMITS = {
    "in process": {1: 1.01, 10: 1.02, 100: 1.06, 1000: 1.30},
    "by clicks": {1: 1.02, 10: 1.03, 100: 1.10, 1000: 1.60},
}
MOST_MEMORY_MB = 300
PAGE_P95_MS = 250
IDLE_LIMITS_MS = {"partial p95": 40, "sink p50": 25, "sink p95": 60}
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """gunicorn with two workers, as in production, and what it costs."""

    def __init__(self, folder: Path, sink_port: int) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = folder / "db.sqlite3"
        self.environment = os.environ | {
            "DATABASE_URL": f"sqlite:///{self.database}",
            "DJANGO_SETTINGS_MODULE": "jobsite.settings",
            "LONG_TASK_TARGET_URL": f"http://127.0.0.1:{sink_port}/",
            "PORT": str(self.port),
            "PUBLIC_URL": self.url,
            "SECRET_KEY": "only-for-this-benchmark-" * 3,
            "WEB_CONCURRENCY": "2",
        }
        self.log = (folder / "server.log").open("w")
        for command in (["migrate", "-v0"], ["collectstatic", "--noinput", "-v0"]):
            subprocess.run(
                [sys.executable, "manage.py", *command],
                cwd=ROOT,
                env=self.environment,
                check=True,
            )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn"],
            cwd=ROOT,
            env=self.environment,
            stdout=self.log,
            stderr=self.log,
        )
        self.peak_memory = 0.0
        deadline = time.time() + 30
        while not self.is_up():
            if time.time() > deadline or self.process.poll() is not None:
                raise SystemExit(
                    f"the server did not start:\n{(folder / 'server.log').read_text()}"
                )
            time.sleep(0.1)

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).ok
        except requests.ConnectionError:
            return False

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

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=40)
        self.log.close()


@contextmanager
def running():
    """A sink and a server for one row of the table; both are stopped afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        sink = subprocess.Popen(
            [sys.executable, ROOT / "benchmarks/sink.py"], stdout=subprocess.PIPE, text=True
        )
        try:
            port = int(sink.stdout.readline())
            server = Server(Path(folder), port)
            try:
                yield server, f"http://127.0.0.1:{port}/"
            finally:
                server.stop()
        finally:
            sink.terminate()
            sink.wait()


def publish_in_loop(count: int) -> None:
    """The body of the publishing process: a plain loop, as one would write with Celery."""
    import django

    django.setup()
    from django.conf import settings

    from jobs.tasks import long_task

    task = long_task.using(owner="benchmark")
    sys.stdin.readline()
    first = time.time()
    for _ in range(count):
        task.enqueue(settings.LONG_TASK_TARGET_URL)
    print(json.dumps({"first": first, "published": time.time()}))


async def start_in_process(server: Server, count: int) -> float:
    """Let a Django process publish; the moment of the first start."""
    publisher = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--publish", str(count),
        cwd=ROOT, env=server.environment | {"PYTHONPATH": str(ROOT), "PUBLIC_URL": server.url},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.sleep(1.5)  # Django's start is not what is measured
    output, _ = await publisher.communicate(b"go\n")
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


async def until_all_succeeded(server: Server, count: int) -> float:
    """Wait for the last success; its moment in unix seconds."""
    database = sqlite3.connect(f"file:{server.database}?mode=ro", uri=True)
    deadline = time.time() + 120
    while time.time() < deadline:
        server.look_at_memory()
        done, last = database.execute(
            "SELECT count(*), max(finished_at) FROM jobs_job WHERE status = 'succeeded'"
        ).fetchone()
        if done == count:
            return datetime.fromisoformat(last).replace(tzinfo=UTC).timestamp()
        await asyncio.sleep(0.1)
    raise SystemExit(f"only {done} of {count} jobs have succeeded within two minutes")


async def measure(mode: str, count: int) -> dict:
    """One row of the table."""
    start = start_in_process if mode == "in process" else start_by_clicks
    with running() as (server, sink):
        server.look_at_memory()
        page_ms: list[float] = []
        cpu = server.cpu_seconds()
        starting = asyncio.create_task(start(server, count))
        looking = asyncio.create_task(look_at_page(server, page_ms)) if count >= 1000 else None
        last = await until_all_succeeded(server, count)
        makespan = last - await starting
        if looking:
            looking.cancel()
        seen = requests.get(sink, timeout=5).json()["requests"]
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


async def measure_idle(clicks: int) -> dict[str, float]:
    """Single clicks on an idle server: to the partial, and to the first request."""
    with running() as (server, sink):
        partial, first = [], []
        async with client() as session:
            browser = await Browser(session, server.url).open()
            for _ in range(clicks):
                at, seconds, job = await browser.click()
                partial.append(1000 * seconds)
                await asyncio.sleep(0.25)
                first.append((at, job))
        seen = requests.get(sink, timeout=5).json()["first"]
        to_sink = [1000 * (seen[job] - at) for at, job in first]
        return {
            "partial p50": percentile(partial, 50),
            "partial p95": percentile(partial, 95),
            "sink p50": percentile(to_sink, 50),
            "sink p95": percentile(to_sink, 95),
        }


def percentile(values: list[float], percent: int) -> float:
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def show(mode: str, rows: list[dict]) -> None:
    print(f"\n{mode}, {os.cpu_count()} cores, gunicorn with 2 workers, SQLite\n")
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


def shortfalls(rows: list[dict], idle: dict[str, float]) -> list[str]:
    """What is over its limit, in words."""
    over = []
    for row in rows:
        if row["limit"] and row["ratio"] > row["limit"]:
            over.append(f"N={row['jobs']}: ratio {row['ratio']:.3f} over {row['limit']}")
        if row["memory"] > MOST_MEMORY_MB:
            over.append(f"N={row['jobs']}: {row['memory']:.0f} MB over {MOST_MEMORY_MB}")
        if row["page"] and row["page"] > PAGE_P95_MS:
            over.append(f"N={row['jobs']}: page p95 {row['page']:.0f} ms over {PAGE_P95_MS}")
    for name, limit in IDLE_LIMITS_MS.items():
        if idle and idle[name] > limit:
            over.append(f"idle {name}: {idle[name]:.1f} ms over {limit}")
    return over


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--in-process", action="store_true", help="publish in a plain loop")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--idle-clicks", type=int, default=60, help="0 leaves them out")
    parser.add_argument("--check", action="store_true", help="fail over a limit")
    parser.add_argument("--publish", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.publish:
        publish_in_loop(options.publish)
        return
    mode = "in process" if options.in_process else "by clicks"
    rows = [asyncio.run(measure(mode, count)) for count in options.jobs]
    show(mode, rows)
    idle = asyncio.run(measure_idle(options.idle_clicks)) if options.idle_clicks else {}
    if idle:
        figures = ", ".join(f"{name} {value:.1f} ms" for name, value in idle.items())
        print(f"\nidle, {options.idle_clicks} single clicks: {figures}")
    over = shortfalls(rows, idle)
    print("\n" + ("\n".join(over) if over else "all within the limits"))
    if over and options.check:
        sys.exit(1)


if __name__ == "__main__":
    main()
