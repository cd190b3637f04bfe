"""What `/metrics` costs with a full database: `uv run benchmarks/metrics.py`.

A database of this run's own is filled with a million messages that were delivered, a backlog of
another hundred thousand, and as many jobs. Then the gauges are read again and again, with a new
connection each time.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.figures import Figure, show, show_missed
from benchmarks.own_database import own_database

MOST_MS = 500


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=9)
    return parser.parse_args()


def fill_database(count: int) -> None:
    from benchmarks.console_pages import fill_database
    from benchmarks.deliveries_filling import fill
    from broker.ids import new_message_id
    from broker.models import Message
    from jobs.models import Job, Status

    fill_database(count)
    fill(Message.objects.filter(state="CREATED").first(), count // 10, new_message_id)
    Message.objects.filter(state="CREATED").update(due_at=1_700_000_000_000)
    log = [{"number": n, "at": 1_700_000_000.0, "text": "HTTP 200"} for n in range(1, 11)]
    job = {"task": "jobs.tasks.long_task", "log": log, "received": {"headers": {"a": "b" * 900}}}
    Job.objects.bulk_create(
        (Job(status=Status.SUCCEEDED, **job) for _ in range(count // 10)), batch_size=1000
    )


def measure(options: argparse.Namespace) -> list[Figure]:
    from django.db import connection

    from operations.gauges import DatabaseCollector, job_gauges, messages_by_state

    fill_database(options.messages)
    parts = {
        "messages by state": messages_by_state,
        "jobs by status": lambda: list(job_gauges()),
        "all of the gauges": lambda: DatabaseCollector().collect(),
    }
    figures = []
    for name, read in parts.items():
        durations = []
        for _ in range(options.turns):
            connection.close()
            began = time.perf_counter()
            read()
            durations.append(1000 * (time.perf_counter() - began))
        figures.append(Figure(f"{name}, median", statistics.median(durations), "ms", MOST_MS))
    for family in DatabaseCollector().collect():
        for sample in family.samples:
            print(sample.name, sample.labels, sample.value)
    return figures


def main() -> None:
    options = read_options()
    with own_database() as kind:
        figures = measure(options)
        show(f"Gauges with {options.messages:,} messages", figures, kind)
        show_missed(figures)


if __name__ == "__main__":
    main()
