"""Publishes jobs in a plain loop: `python -m benchmarks.long_task_publisher COUNT SITE_URL`.

It says `ready` once Django has started, and begins when a line comes in.
"""

import json
import sys
import time

import django

django.setup()

from django.conf import settings

from jobs.models import Job
from jobs.queues import get_queue


def main() -> None:
    count, site = int(sys.argv[1]), sys.argv[2]
    queue = get_queue()
    print("ready", flush=True)
    sys.stdin.readline()
    first = time.time()
    for _ in range(count):
        queue.send(Job(visitor="benchmark", target_url=settings.LONG_TASK_TARGET_URL), site)
    print(json.dumps({"first": first}))


if __name__ == "__main__":
    main()
