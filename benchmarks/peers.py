"""Our queue beside Celery and Huey on the same work: `uv run benchmarks/peers.py`.

Starts Redis and, where it is installed, PostgreSQL. Each round runs every queue on every workload,
one after another, so that a busy moment of the machine meets all of them. The table has medians
and ranges over the rounds, and says under it what each queue loses in a crash. The others are
installed into `.venv-peers`. `--check` exits with 1 if a limit was missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.alone import add_option, refuse_beside_others
from benchmarks.fast_sink import running_sink
from benchmarks.figures import Figure, moment, percentile, show_missed
from benchmarks.peers_queues import Queue, install, running
from benchmarks.startup import wait_until_started
from harness.postgresql import Cluster, binaries
from harness.processes import ROOT, collect_static, exit_on_sigterm

PATIENCE_SECONDS = 600
QUEUES = ["ours", "celery", "huey"]
TITLES = {"ours": "ours", "celery": "Celery + Redis", "huey": "Huey + Redis", "loop": "bare loop"}
LOSES = """\
What each loses in a crash, as configured here:
- ours: nothing that was accepted. A commit is flushed to disk before `enqueue` returns. What was
  running begins again, at the first step that had not been noted.
- Celery: what was enqueued in the last second if the machine loses power (Redis flushes its log
  once a second). A worker that is killed loses nothing: a task is acknowledged after it has run,
  and Redis delivers it again after an hour, its visibility timeout.
- Huey: the same second, and every task that a killed worker was running: it takes a task out of
  the queue before it runs it.
"""


def burst(queue: Queue, kind: str, count: int) -> tuple[float, float]:
    """Enqueue in a plain loop: seconds from the first enqueue to the last success, and of CPU."""
    queue.publish("small", 0)  # what it costs to start is not counted
    wait_until_started(queue.cpu_seconds)
    before, cpu = queue.succeeded()[0], queue.cpu_seconds()
    report = queue.publish(kind, count)
    expected = before + 1 + count  # one goes ahead
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (seen := queue.succeeded())[0] < expected:
        if time.monotonic() > deadline:
            raise SystemExit(f"{seen[0]} of {expected} jobs succeeded in {PATIENCE_SECONDS} s")
        time.sleep(0.1)
    return moment(seen[1]) - report["first"], queue.cpu_seconds() - cpu + report["cpu"]


def bare_loop(count: int, target_url: str) -> dict[str, float]:
    """The long work without queue, database or framework, in one process."""
    command = [sys.executable, "-m", "benchmarks.peers_loop", str(count), target_url]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure(name: str, options: argparse.Namespace, cluster: Cluster | None) -> dict[str, float]:
    """One queue's figures of one round."""
    figures: dict[str, float] = {}
    with running_sink() as target_url:
        if name == "loop":
            return bare_loop(options.long, target_url)
        with running(name, "small", cluster, target_url) as queue:
            wait_until_started(queue.cpu_seconds)
            times = queue.publish("small", options.idle, "--one-by-one")["ms"]
            figures |= {"p50": percentile(times, 50), "p95": percentile(times, 95)}
        with running(name, "small", cluster, target_url) as queue:
            seconds, cpu = burst(queue, "small", options.small)
            figures["rate"] = options.small / seconds
            figures["cpu a job"] = 1000 * cpu / options.small
        with running(name, "long", cluster, target_url) as queue:
            figures["makespan"], figures["cpu"] = burst(queue, "long", options.long)
    return figures


ROWS = {
    "makespan": "{long:,} long tasks at once, makespan, s",
    "cpu": "the same, CPU, s",
    "rate": "{small:,} small jobs, jobs a second",
    "cpu a job": "the same, CPU a job, ms",
    "p50": "idle, enqueue to succeeded, p50, ms",
    "p95": "the same, p95, ms",
}


def show(seen: dict[str, dict[str, list[float]]], options: argparse.Namespace, title: str) -> None:
    """Print medians, and ranges over the rounds in brackets."""
    names = list(seen)
    print(f"\n{title}; medians of {options.rounds} interleaved rounds, ranges in brackets\n")
    print(f"| | {' | '.join(TITLES[name] for name in names)} |")
    print(f"|---|{'--:|' * len(names)}")
    for row, label in ROWS.items():
        cells = []
        for name in names:
            values = seen[name].get(row)
            cells.append(
                f"{statistics.median(values):.1f} [{min(values):.1f} to {max(values):.1f}]"
                if values
                else ""
            )
        print(f"| {label.format(**vars(options))} | {' | '.join(cells)} |", flush=True)


def limits(seen: dict[str, dict[str, list[float]]], database: str) -> list[Figure]:
    """Our figures divided by the others' of the same run, with their limits."""

    def ratio(name: str, row: str) -> float:
        return statistics.median(seen["ours"][row]) / statistics.median(seen[name][row])

    sqlite = database == "SQLite"
    figures = []
    if {"ours", "celery"} <= seen.keys():
        rate = ratio("celery", "rate")
        figures += [
            Figure("small jobs a second / Celery's", rate, "/s", 1.2 if sqlite else 1.0),
            Figure(
                "CPU a job / Celery's", ratio("celery", "cpu a job"), "", 1.0 if sqlite else None
            ),
            Figure("idle p50 / Celery's", ratio("celery", "p50"), "", 1.0 if sqlite else 1.5),
            Figure("idle p95 / Celery's", ratio("celery", "p95"), "", 1.0 if sqlite else None),
        ]
    if {"ours", "loop"} <= seen.keys():
        figures.append(Figure("makespan / bare loop's", ratio("loop", "makespan"), "", 1.25))
    return figures


def main() -> None:
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=2000, help="how many small jobs")
    parser.add_argument("--long", type=int, default=1000, help="how many long tasks at once")
    parser.add_argument("--idle", type=int, default=100, help="how many jobs one by one")
    parser.add_argument("--only", nargs="+", choices=[*QUEUES, "loop"], default=[*QUEUES, "loop"])
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--check", action="store_true", help="fail over a limit")
    add_option(parser)
    options = parser.parse_args()
    refuse_beside_others(options)
    collect_static()
    install()
    databases = ["SQLite", "PostgreSQL"] if options.database == "both" else []
    databases = databases or [{"sqlite": "SQLite", "postgresql": "PostgreSQL"}[options.database]]
    missed: list[Figure] = []
    for database in databases:
        if database == "PostgreSQL" and not binaries():
            print("\nPostgreSQL is not installed, so it was not measured.")
            continue
        seen = compare(options, database)
        title = f"{os.cpu_count()} cores, {database}"
        show(seen, options, title)
        missed += show_missed(limits(seen, database))
    print(f"\n{LOSES}")
    if missed and options.check:
        sys.exit(1)


def compare(options: argparse.Namespace, database: str) -> dict[str, dict[str, list[float]]]:
    """Every round's figures by queue and row, on one database."""
    seen: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in options.only}
    with Cluster() if database == "PostgreSQL" else nullcontext() as cluster:
        for number in range(1, options.rounds + 1):
            for name in options.only:
                print(f"{database}, round {number}: {TITLES[name]}", file=sys.stderr, flush=True)
                for row, value in measure(name, options, cluster).items():
                    seen[name][row].append(value)
    return seen


if __name__ == "__main__":
    main()
