"""Huey's worker: `python -m benchmarks.peer_site.huey_worker process|greenlet WORKERS`."""

import sys

kind, workers = sys.argv[1:]
if kind == "greenlet":
    from gevent import monkey

    monkey.patch_all()

from django.core.management import execute_from_command_line

execute_from_command_line(["", "run_huey", "-k", kind, "-w", workers, "-q", "-n"])
