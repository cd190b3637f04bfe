"""How far open pages are behind, and what they cost: `uv run benchmarks/live_pages.py`.

Opens N home pages, each of another visitor and with its stream of events, on gunicorn with two
workers and SQLite. Some of the visitors start one job after the other, each at another moment;
another server on the same database takes the clicks and runs the jobs, so that the first one's
cost is that of the open pages. A page is behind for as long as a step is committed and not yet
there. Each figure is of this run; the last lines name the limits that were missed. `--quick`
tries everything with small numbers.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.alone import add_option, refuse_beside_others
from benchmarks.fast_sink import running_sink
from benchmarks.figures import Figure, percentile, show, show_missed
from benchmarks.live_pages_visitors import Page, client, open_pages
from broker.open_files import allow_many
from harness.processes import Site, collect_static, exit_on_sigterm, site

MOST_BEHIND_SECONDS = 1.0
MOST_CORES = 0.5
# How soon a commit is noticed, and what is looked at then.
NOTICE_SECONDS = 0.01
LOOK_BACK = timedelta(seconds=10)
# Longer than a reader's interval and a page's rendering, for what the last steps bring.
REST_SECONDS = 3.0
# The first jobs are started within this time, which is about as long as a job takes: visitors do
# not click all at once.
SPREAD_SECONDS = 5.0


class Commits(threading.Thread):
    """Notices when each step has been committed, as any reader of the database would."""

    def __init__(self, file: Path) -> None:
        super().__init__(daemon=True)
        self.file, self.over = file, threading.Event()
        self.steps: dict[str, list[float]] = {}

    def run(self) -> None:
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True)) as database:
            seen = None
            while not self.over.wait(NOTICE_SECONDS):
                (version,) = database.execute("PRAGMA data_version").fetchone()
                if version != seen:
                    seen = version
                    self.note(database)

    def note(self, database: sqlite3.Connection) -> None:
        since = datetime.now(UTC) - LOOK_BACK
        rows = database.execute(
            "SELECT id, steps_done FROM jobs_job WHERE changed_at > ?",
            [since.strftime("%Y-%m-%d %H:%M:%S.%f")],
        ).fetchall()
        now = time.time()
        for job_id, count in rows:
            steps = self.steps.setdefault(job_id, [])
            steps += [now] * (count - len(steps))


class Cost:
    """The processor time of a server's processes, and their memory."""

    def __init__(self, site: Site) -> None:
        master = psutil.Process(site.processes[0].pid)
        self.processes = [master, *master.children(recursive=True)]
        self.restart()

    def restart(self) -> None:
        self.began, self.cpu_began = time.monotonic(), self.cpu_seconds()

    def cpu_seconds(self) -> float:
        times = [process.cpu_times() for process in self.processes]
        return sum(t.user + t.system for t in times)

    def cores(self) -> float:
        """Of the processor, since the last restart."""
        return (self.cpu_seconds() - self.cpu_began) / (time.monotonic() - self.began)

    def memory_mb(self) -> float:
        return sum(process.memory_full_info().pss for process in self.processes) / 1e6


@contextmanager
def servers() -> Iterator[tuple[Site, str]]:
    """The server of the pages; the URL of another one on its database, which runs the jobs."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as other,
        running_sink() as sink,
    ):
        quiet = {"LONG_TASK_TARGET_URL": sink, "PYTHONWARNINGS": "", "WEB_CONCURRENCY": "2"}
        with site(Path(folder), RUN_DISPATCHER="0", **quiet) as pages:
            database = pages.environment["DATABASE_URL"]
            jobs = Site(Path(other), database, **quiet)
            try:
                jobs.start_web()
                pages.start_web(PUBLIC_URL=jobs.url)
                yield pages, jobs.url
            finally:
                jobs.stop_all()


async def measure(pages_site: Site, jobs_url: str, options: argparse.Namespace) -> list[Figure]:
    cost = Cost(pages_site)
    empty_mb = cost.memory_mb()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(client())
        pages = [Page(session, pages_site.url, jobs_url) for _ in range(options.pages)]
        await stack.enter_async_context(open_pages(pages))
        await asyncio.sleep(REST_SECONDS)
        cost.restart()
        await asyncio.sleep(options.seconds)
        idle_cores, idle_mb = cost.cores(), cost.memory_mb()
        before = [page.events for page in pages]
        commits = Commits(pages_site.folder / "site.sqlite3")
        commits.start()
        cost.restart()
        deadline = time.monotonic() + options.seconds
        working = pages[:: max(1, options.pages // options.working)][: options.working]
        pause = min(SPREAD_SECONDS, options.seconds) / len(working)
        starts = (page.work(deadline, turn * pause) for turn, page in enumerate(working))
        await asyncio.gather(*starts)
        busy_cores = cost.cores()
        await asyncio.sleep(REST_SECONDS)
        told = [page.events - old for page, old in zip(pages, before, strict=True)]
    commits.over.set()
    behind, counts = how_far_behind(commits.steps, working)
    to_commit = until_committed(pages_site.folder / "site.sqlite3", commits.steps)
    others = sum(number for page, number in zip(pages, told, strict=True) if page not in working)
    return [
        Figure("behind, p50", percentile(behind, 50), "s"),
        Figure("behind, p95", percentile(behind, 95), "s"),
        Figure("behind, most", max(behind), "s", MOST_BEHIND_SECONDS),
        Figure("from a step's note to its commit, p95", percentile(to_commit, 95), "s"),
        Figure("processor while jobs run", busy_cores, "cores", MOST_CORES),
        Figure("processor while nothing happens", idle_cores, "cores"),
        Figure("memory a page", 1000 * (idle_mb - empty_mb) / options.pages, "kB"),
        Figure("steps", len(behind), ""),
        Figure("counts that were shown, of all steps", 100 * counts / len(behind), "%"),
        Figure("events to pages that had no job", others, "", 0),
    ]


def how_far_behind(commits: dict[str, list[float]], pages: list[Page]) -> tuple[list[float], int]:
    """(seconds from each step's commit to the page that shows it, how many counts were shown)"""
    behind, counts = [], 0
    for page in pages:
        for job_id in page.ended:
            shown = [one for one in page.shown if one.job_id == job_id]
            for number, committed_at in enumerate(commits[job_id], start=1):
                at = [one.at for one in shown if one.steps >= number]
                behind.append(max(0.0, min(at) - committed_at))
                counts += number in [one.steps for one in shown]
    return behind, counts


def until_committed(file: Path, commits: dict[str, list[float]]) -> list[float]:
    """Seconds from the moment that each step has in its job's log to its commit."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        logs = dict(database.execute("SELECT id, log FROM jobs_job").fetchall())
    return [
        committed_at - step["at"]
        for job_id, moments in commits.items()
        for step, committed_at in zip(json.loads(logs[job_id]), moments, strict=False)
    ]


def main() -> None:
    exit_on_sigterm()
    allow_many()
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--working", type=int, default=100, help="visitors whose jobs run")
    parser.add_argument("--seconds", type=float, default=30, help="idle, and as long with jobs")
    parser.add_argument("--quick", action="store_true", help="everything, with small numbers")
    add_option(parser)
    options = parser.parse_args()
    refuse_beside_others(options)
    if options.quick:
        options.pages, options.working, options.seconds = 20, 4, 2
    collect_static()
    with servers() as (pages_site, jobs_url):
        figures = asyncio.run(measure(pages_site, jobs_url, options))
    title = f"{options.pages:,} open pages, {options.working} with jobs one after the other"
    show(title, figures, "gunicorn with 2 workers, SQLite")
    show_missed(figures)
    if options.quick:
        print("These numbers are too small to judge by: --quick only tries everything once.")


if __name__ == "__main__":
    main()
