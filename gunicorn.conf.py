"""gunicorn's settings: asynchronous workers, each with a dispatcher of its own.

Any worker's dispatcher may claim a message, and any worker may accept its POST.
"""

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from broker.open_files import allow_many
from jobsite import slow_heads

allow_many()
slow_heads.install()

# As in settings.py: what the environment sets wins. The workers read the file themselves.
variables = {**dotenv_values(Path(__file__).with_name(".env")), **os.environ}

wsgi_app = "jobsite.asgi:application"
worker_class = "asgi"
bind = f"0.0.0.0:{variables.get('PORT') or 8000}"
workers = int(variables.get("WEB_CONCURRENCY") or 2)

# A thousand browsers may connect at once. (The ASGI worker ignores worker_connections: the
# number of open connections is not limited.)
backlog = 4096
# gunicornc is not used here; without its socket there is one less to protect.
control_socket_disable = True
# A dispatcher waits 25 seconds for running attempts to finish; its worker must outlive it.
graceful_timeout = 28
# Longer than the dispatcher reuses an idle connection (1 second), so that the server never
# closes one that is about to be used.
keepalive = 5
# When a connection is dropped, its view is cancelled after 1 second, so that another attempt
# can claim the job.
asgi_disconnect_grace_period = 1


if (variables.get("LOG_FORMAT") or "").strip().lower() == "json":
    logger_class = "jobsite.gunicorn_logs.JsonLogger"

# What of this project the master process has imported.
OURS = ("broker", "jobsite", "logfields")


def post_fork(server: Any, worker: Any) -> None:
    """Let a worker import what is there now, and not what the master has imported long ago.

    After a deployment, SIGHUP starts new workers from the old master.
    """
    for name in list(sys.modules):
        if name.partition(".")[0] in OURS:
            del sys.modules[name]


def post_worker_init(worker: Any) -> None:
    """On SIGTERM stop claiming messages before gunicorn stops taking requests."""

    def drain() -> None:
        worker.asgi.drain()
        worker.handle_exit_signal()

    worker.loop.add_signal_handler(signal.SIGTERM, drain)
    worker.loop.create_task(listen_deeper(worker))
    # Collect garbage less often: the objects of a thousand waiting messages are all in use.
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


async def listen_deeper(worker: Any) -> None:
    """Give the sockets the backlog set above; the ASGI worker uses asyncio's default of 100.

    A connection that does not fit is dropped, and the client's kernel tries again a second later.
    https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.create_server
    """
    while len(worker.servers) < len(worker.sockets):
        await asyncio.sleep(0.01)
    for listener in worker.sockets:
        listener.sock.listen(backlog)
