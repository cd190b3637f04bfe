"""The entry point for gunicorn: it passes requests to Django and runs the dispatcher.

A message is delivered by the dispatcher that starts here with the server. Its POST to
`/api/long-task` comes in through `Site` like any other request.
"""

import gc

gc.disable()  # do not look for garbage in what is imported, as all of it is in use: 0.025 s

import asyncio
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")

import django

django.setup(set_prefix=False)

from django.apps import apps
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import close_old_connections, reset_queries
from django.template.loader import render_to_string
from django.urls import resolve

from broker.dispatcher import Dispatcher
from broker.own_site import OwnSite
from broker.retention import keep_sweeping
from groupcommit.outages import limit_waiting
from live.reader import reader

if TYPE_CHECKING:
    from asgiref.typing import ASGIReceiveCallable, ASGISendCallable

# How long a body may take: so long, and longer for each byte of it that has come; and how long
# its next piece may take. gunicorn itself waits 30 seconds for a piece, then answers 500.
BODY_SECONDS, LEAST_BYTES_A_SECOND = 20.0, 10_000

# What the first page does without, and the first click or message needs: aiohttp, `limits` and,
# with hosted QStash, `requests`. They are imported in a thread, so much after the start: at once,
# they would take 0.05 s from a page that somebody waits for.
LATER_SECONDS = 0.5
LATER = ["broker.connections"]
if apps.is_installed("jobs"):
    LATER += ["operations.counting", *(["jobs.hosted_resources"] if settings.QSTASH_TOKEN else [])]


class Site(ASGIHandler):
    """Django's handler, with one thread for all synchronous work instead of one per request.

    Django's own handler gives every request a thread and keeps it until the answer is sent,
    so a thousand waiting tasks would be a thousand idle threads. Here, the synchronous views
    and queries of a process take turns in one thread, and a request that waits holds none.
    https://docs.djangoproject.com/en/6.1/topics/async/
    """

    dispatcher: Dispatcher | None = None
    background: list[asyncio.Task[None]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        elif scope["type"] == "http":
            await self.handle_limited(scope, receive, send)
        else:
            raise ValueError(f"This site does not support {scope['type']}.")

    async def handle_limited(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request. A body that is too large gets 413 before Django stores it, one that
        comes too slowly 408.
        """
        received, more, late = 0, True, False
        clock = asyncio.get_running_loop().time
        started = clock()

        async def receive_limited() -> Any:
            nonlocal received, more, late
            until = min(clock(), started + received / LEAST_BYTES_A_SECOND) + BODY_SECONDS
            try:
                # After the body, Django listens for the end of the connection.
                async with asyncio.timeout_at(until if more else None):
                    message = await receive()
            except TimeoutError:
                late = True
                return {"type": "http.disconnect"}
            more = message.get("more_body", False)
            received += len(message.get("body", b""))
            # Django then closes what it has stored, and answers nothing.
            return {"type": "http.disconnect"} if received > settings.LARGEST_REQUEST else message

        await self.handle(scope, receive_limited, send)
        if received > settings.LARGEST_REQUEST:
            await refuse_body(scope, receive, send, more)
        elif late:
            await send_refusal(send, 408, b"application/json", b'{"error": "body too slow"}')

    async def lifespan(self, receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        """Start the dispatcher when the server starts, and stop it when the server stops.
        https://asgi.readthedocs.io/en/latest/specs/lifespan.html
        """
        await receive()
        limit_waiting()
        loop = asyncio.get_running_loop()
        loop.call_later(LATER_SECONDS, loop.run_in_executor, None, import_later)
        if settings.RUN_DISPATCHER:
            self.dispatcher = Dispatcher(own_site=self.own_site())
            self.dispatcher.start()
        if settings.QSTASH_TOKEN and apps.is_installed("jobs"):
            from jobs.unsent import keep_publishing_unsent

            loops = [keep_publishing_unsent(), keep_sweeping()]  # no dispatcher does it
            self.background = [asyncio.create_task(loop) for loop in loops]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in self.background:
            task.cancel()
        if self.dispatcher:
            await self.dispatcher.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def own_site(self) -> OwnSite | None:
        """This site as a destination that needs no socket, if it knows its own URL."""
        if settings.PUBLIC_URL and settings.DELIVER_IN_PROCESS:
            return OwnSite(self, settings.PUBLIC_URL)
        return None

    def drain(self) -> None:
        """Claim no more messages, end all streams: the server has been told to stop.

        gunicorn waits for open connections; see gunicorn.conf.py.
        """
        reader.stop()
        if self.dispatcher:
            self.dispatcher.stop_claiming()


def import_later() -> None:
    for module in LATER:
        import_module(module)


async def refuse_body(scope: Any, receive: Any, send: Any, more: bool) -> None:
    """Answer 413. A browser gets a page, and is heard out first: it shows no answer before.

    `more` is whether the body goes on; after its end nothing comes but the disconnection.
    """
    kind, body = b"application/json", b'{"error": "body too large"}'
    if any(name == b"accept" and b"text/html" in value for name, value in scope["headers"]):
        left = settings.LARGEST_REQUEST * 4
        while more and left > 0:
            message = await receive()
            more = message.get("more_body", False)
            left -= len(message.get("body", b""))
        kind, body = b"text/html; charset=utf-8", render_to_string("413.html").encode()
    await send_refusal(send, 413, kind, body)


async def send_refusal(send: Any, status: int, kind: bytes, body: bytes) -> None:
    """Answer without Django, and close the connection: the rest of the body may still come."""
    headers = [(b"content-type", kind), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# Old connections are closed at the end of each request. Closing them at its start as well
# would cost every message another switch to the thread.
request_started.disconnect(close_old_connections)
request_started.disconnect(reset_queries)

application = Site()
resolve("/healthz")  # import the views now, not while the first message waits
gc.freeze()  # nor look through it while the first page is made: 0.015 s
gc.enable()
