"""The work, the same for Celery and Huey: one update, or ten requests with pauses."""

import os
import time

import urllib3
from django.db import connection
from django.utils import timezone

from benchmarks.peer_site.models import Job

STEPS = 10
PAUSE_SECONDS = 0.5
http = urllib3.PoolManager(maxsize=1000)


def change(job_id: int, **values: object) -> None:
    """Update a job's row; with a pool, give the connection back at once."""
    Job.objects.filter(id=job_id).update(**values)
    if os.environ.get("PEER_POOL"):
        connection.close()


def small(job_id: int) -> None:
    change(job_id, status="succeeded", finished_at=timezone.now())


def long(job_id: int, target_url: str) -> None:
    change(job_id, status="running")
    for number in range(1, STEPS + 1):
        answer = http.request("POST", target_url, body=b'{"hello": "world"}', timeout=60)
        assert answer.status == 200, answer.status
        change(job_id, steps_done=number)
        time.sleep(PAUSE_SECONDS)
    change(job_id, status="succeeded", finished_at=timezone.now())
