"""Publishes jobs in a plain loop: `python -m benchmarks.long_task_publisher COUNT`.

It says `ready` once Django has started, and begins when a line comes in.
"""

import json
import sys
import time

import django

django.setup()

from django.conf import settings

from jobs.tasks import long_task


def main() -> None:
    task = long_task.using(owner="benchmark")
    print("ready", flush=True)
    sys.stdin.readline()
    first = time.time()
    for _ in range(int(sys.argv[1])):
        task.enqueue(settings.LONG_TASK_TARGET_URL)
    print(json.dumps({"first": first}))


if __name__ == "__main__":
    main()
