"""gunicorn's settings: asynchronous workers, each with a dispatcher of its own.

A message is delivered by whichever worker's dispatcher claims it, to whichever worker
accepts its POST.
"""

import asyncio
import gc
import os
import signal
from typing import Any

from broker.open_files import allow_many

allow_many()

wsgi_app = "jobsite.asgi:application"
worker_class = "asgi"
bind = f"0.0.0.0:{os.environ.get('PORT') or 8000}"
workers = int(os.environ.get("WEB_CONCURRENCY") or 2)

# A thousand clicks may knock at once. (How many may stay is not limited: the ASGI worker
# takes no notice of worker_connections.)
backlog = 4096
# Nobody uses gunicornc here; without it there is one socket less to guard.
control_socket_disable = True
# A message in flight may take 25 seconds; its worker gives it that long to end.
graceful_timeout = 28
# The dispatcher reuses a connection for 1 second: always less than the server keeps it.
keepalive = 5
# A dropped connection ends its view at once, so that the job can be taken up again.
asgi_disconnect_grace_period = 1


def post_worker_init(worker: Any) -> None:
    """On SIGTERM stop claiming messages before gunicorn stops taking requests."""

    def drain() -> None:
        worker.asgi.drain()
        worker.handle_exit_signal()

    worker.loop.add_signal_handler(signal.SIGTERM, drain)
    worker.loop.create_task(listen_deeper(worker))
    # Look for garbage less often: what a thousand waiting messages hold is none.
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


async def listen_deeper(worker: Any) -> None:
    """Give the sockets the backlog set above; the ASGI worker listens with asyncio's 100.

    What does not fit is dropped, and the client's kernel tries again a whole second later.
    https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.create_server
    """
    while len(worker.servers) < len(worker.sockets):
        await asyncio.sleep(0.01)
    for listener in worker.sockets:
        listener.sock.listen(backlog)
