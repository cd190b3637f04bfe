"""`manage.py dev`: the whole site in one process, for one's own machine.

A message published here is claimed by the dispatcher in a thread of this same process, and
POSTed back to this same server.
"""

import asyncio
import atexit
import errno
import threading
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.management.commands.runserver import Command as RunserverCommand
from django.core.management import BaseCommand, call_command
from django.core.servers.basehttp import WSGIRequestHandler, WSGIServer
from django.tasks import default_task_backend

from broker.dispatcher import Dispatcher
from groupcommit.outages import limit_waiting
from jobs.unsent import keep_publishing_unsent

SWITCHED_OFF = (
    "The dispatcher is switched off (RUN_DISPATCHER=0): jobs wait until "
    "`manage.py run_dispatcher` runs, too."
)


class RequestHandler(WSGIRequestHandler):
    """Keeps the request target as it came: a destination's `%2F` must survive."""

    def get_environ(self) -> dict[str, Any]:
        return super().get_environ() | {"RAW_URI": self.path}


class Server(WSGIServer):
    """Django's development server, with our request handler."""

    def __init__(self, address: Any, handler: Any, **options: Any) -> None:
        super().__init__(address, RequestHandler, **options)

    def server_bind(self) -> None:
        """Take the port, or say which one is taken and what to do."""
        try:
            super().server_bind()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            port = self.server_address[1]
            # Without its number, `runserver` prints this text in place of its own.
            raise OSError(
                f"port {port} is taken by another program. "
                f"Choose another one: manage.py dev --port {port + 1}"
            ) from error


class Command(RunserverCommand):
    help = "Migrate, serve the site and run the queue's dispatcher; reload when code changes."
    server_cls = Server
    addr: str
    _raw_ipv6: bool

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        parser.add_argument("--port", type=int, default=settings.PORT, help="default: %(default)s")

    def handle(self, *args: Any, **options: Any) -> None:
        options["addrport"] = options["addrport"] or str(options["port"])
        super().handle(*args, **options)

    def inner_run(self, *args: Any, **options: Any) -> None:
        """What the reloader runs, and runs again when code has changed."""
        call_command("migrate", verbosity=0)
        limit_waiting()
        if not options["skip_checks"]:
            checks: Any = BaseCommand.get_check_kwargs(self, options)
            self.check(**checks)
            options["skip_checks"] = True  # or they would run again, and say so
        if settings.QSTASH_TOKEN:
            threading.Thread(target=publish_unsent_in_thread, name="unsent", daemon=True).start()
        super().inner_run(*args, **options)

    def on_bind(self, server_port: int) -> None:
        host = f"[{self.addr}]" if self._raw_ipv6 else self.addr
        url = f"http://{host}:{server_port}"
        queue = default_task_backend.name
        self.stdout.write(f"Open {url}/ and click. Queue: {queue}. Stop with Ctrl-C.")
        if settings.RUN_DISPATCHER:
            run_dispatcher_in_thread()
        elif not settings.QSTASH_TOKEN:
            self.stdout.write(SWITCHED_OFF)
        if not settings.QSTASH_TOKEN:
            token = settings.BROKER_TOKEN
            self.stdout.write(f"For curl and other apps: QSTASH_URL={url} QSTASH_TOKEN={token}")
        self.stdout.flush()


def publish_unsent_in_thread() -> None:
    asyncio.run(keep_publishing_unsent())


def run_dispatcher_in_thread() -> None:
    """Give the dispatcher an event loop of its own; at exit it gives back its messages."""
    dispatcher = Dispatcher()
    loop = asyncio.new_event_loop()

    async def start() -> None:
        dispatcher.start()

    def run() -> None:
        import_module("broker.connections")  # aiohttp: else the first message would wait for it
        asyncio.set_event_loop(loop)
        loop.run_until_complete(start())
        loop.run_forever()

    def stop() -> None:
        asyncio.run_coroutine_threadsafe(dispatcher.stop(grace_seconds=0), loop).result(timeout=3)
        loop.call_soon_threadsafe(loop.stop)

    threading.Thread(target=run, name="dispatcher", daemon=True).start()
    atexit.register(stop)
