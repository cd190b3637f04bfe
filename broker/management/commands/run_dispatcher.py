"""`manage.py run_dispatcher`: the queue's dispatcher in a process of its own.

Messages are claimed here and POSTed to the web processes. Set RUN_DISPATCHER=0 for those, so
that they start no dispatchers themselves.
"""

import asyncio
import signal
from typing import Any

import uvloop
from django.core.management.base import BaseCommand

import broker.connections  # noqa: F401  # aiohttp, now and not at the first delivery
from broker.dispatcher import GRACE_SECONDS, Dispatcher
from broker.open_files import allow_many
from groupcommit.outages import limit_waiting


class Command(BaseCommand):
    help = (
        "Deliver the messages of the embedded queue. The first SIGTERM or Ctrl-C lets running "
        f"attempts finish (up to {GRACE_SECONDS:.0f} s), the second gives them back at once."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        allow_many()
        limit_waiting()
        asyncio.run(run_until_signalled(Dispatcher()), loop_factory=uvloop.new_event_loop)


async def run_until_signalled(dispatcher: Dispatcher) -> None:
    """Run a dispatcher; let it finish at the first signal, cut it off at the second."""
    stop, force = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (force if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    dispatcher.start()
    await stop.wait()
    gently = asyncio.create_task(dispatcher.stop())
    forced = asyncio.create_task(force.wait())
    await asyncio.wait([gently, forced], return_when=asyncio.FIRST_COMPLETED)
    if not gently.done():
        for task in dispatcher.in_flight.values():
            task.cancel()
    await gently
    forced.cancel()
