"""Enqueues jobs in a plain loop, in a process of its own, and prints what it saw as JSON.

`python -m benchmarks.peers_publisher ours|celery|huey small|long COUNT [--one-by-one]`. One small
job goes ahead to open connections. The output: {"first": unix seconds, "cpu": seconds}, or
{"ms": [from enqueue to succeeded, …]} for jobs that are enqueued one by one.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import django

django.setup()

from django.conf import settings
from django.db import connection

PATIENCE_SECONDS = 120
LOOK_SECONDS = 0.002
PAUSE_SECONDS = 0.01

type Enqueue = Callable[[str], Any]


def ours() -> tuple[Any, Enqueue]:
    from benchmarks.our_site.tasks import small
    from jobs.models import Job
    from jobs.tasks import long_task

    def enqueue(kind: str) -> str:
        if kind == "small":
            return small.enqueue().id
        return long_task.enqueue(settings.LONG_TASK_TARGET_URL).id

    return Job, enqueue


def celery() -> tuple[Any, Enqueue]:
    from benchmarks.peer_site import celery_tasks
    from benchmarks.peer_site.models import Job

    return Job, peer(Job, celery_tasks.small.delay, celery_tasks.long.delay)


def huey() -> tuple[Any, Enqueue]:
    from benchmarks.peer_site import tasks
    from benchmarks.peer_site.models import Job

    return Job, peer(Job, tasks.small, tasks.long)


def peer(model: Any, small: Callable[..., Any], long: Callable[..., Any]) -> Enqueue:
    """What others do for a job: insert its row, then enqueue its id."""
    target_url = os.environ["LONG_TASK_TARGET_URL"]

    def enqueue(kind: str) -> int:
        job_id = model.objects.create().id
        if kind == "small":
            small(job_id)
        else:
            long(job_id, target_url)
        return job_id

    return enqueue


def status(model: Any, job_id: Any) -> str:
    """Read a job's status without the ORM, which takes 0.3 ms more of a core that the queue needs
    just then.
    """
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT status FROM {table} WHERE id = %s", [job_id])  # noqa: S608
        return str(cursor.fetchone()[0])


def wait(model: Any, job_id: Any) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while status(model, job_id) != "succeeded":
        if time.monotonic() > deadline:
            raise SystemExit(f"a job did not succeed within {PATIENCE_SECONDS} s")
        time.sleep(LOOK_SECONDS)


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("queue", choices=["ours", "celery", "huey"])
    parser.add_argument("kind", choices=["small", "long"])
    parser.add_argument("count", type=int)
    parser.add_argument("--one-by-one", action="store_true")
    options = parser.parse_args()
    model, enqueue = {"ours": ours, "celery": celery, "huey": huey}[options.queue]()
    wait(model, enqueue("small"))
    if options.one_by_one:
        times = []
        for _ in range(options.count):
            time.sleep(PAUSE_SECONDS)
            began = time.perf_counter()
            wait(model, enqueue(options.kind))
            times.append(1000 * (time.perf_counter() - began))
        report: dict[str, Any] = {"ms": times}
    else:
        cpu, first = cpu_seconds(), time.time()
        for _ in range(options.count):
            enqueue(options.kind)
        report = {"first": first, "cpu": cpu_seconds() - cpu}
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
