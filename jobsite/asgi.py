"""The entry point for gunicorn: requests to Django, and the dispatcher beside it.

A message passes here twice: the dispatcher that delivers it starts with the server, and its
POST to `/api/long-task` comes in through `Site` like anybody's request.
"""

import asyncio
import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobsite.settings")

import django

django.setup(set_prefix=False)

from asgiref.typing import ASGIReceiveCallable, ASGISendCallable
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import close_old_connections, reset_queries
from django.urls import resolve

from broker.dispatcher import Dispatcher
from jobs.unsent import keep_publishing_unsent


class Site(ASGIHandler):
    """Django's handler, with one thread for all synchronous work instead of one a request.

    Django gives every request a thread of its own and keeps it until the answer is sent:
    a thousand waiting tasks would be a thousand idle threads. Without that context,
    synchronous views and queries of a process take turns in one thread, and a request
    that waits holds none.
    https://docs.djangoproject.com/en/6.1/topics/async/
    """

    dispatcher: Dispatcher | None = None
    unsent: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        elif scope["type"] == "http":
            await self.handle_limited(scope, receive, send)
        else:
            raise ValueError(f"This site does not speak {scope['type']}.")

    async def handle_limited(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, with 413 if its body is too large: Django would store it first."""
        received = 0

        async def receive_limited() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > settings.LARGEST_REQUEST:
                raise RequestDataTooBig
            return message

        try:
            await self.handle(scope, receive_limited, send)
        except RequestDataTooBig:
            headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 413, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error": "body too large"}'})

    async def lifespan(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Run the dispatcher from the server's start to its end.
        https://asgi.readthedocs.io/en/latest/specs/lifespan.html
        """
        await receive()
        if settings.RUN_DISPATCHER:
            self.dispatcher = Dispatcher()
            self.dispatcher.start()
        if settings.QSTASH_TOKEN:
            self.unsent = asyncio.create_task(keep_publishing_unsent())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self.unsent:
            self.unsent.cancel()
        if self.dispatcher:
            await self.dispatcher.stop()
        await send({"type": "lifespan.shutdown.complete"})

    def drain(self) -> None:
        """Claim no more messages: the server has been told to end (see gunicorn.conf.py)."""
        if self.dispatcher:
            self.dispatcher.stop_claiming()


# Too old connections are closed where each request ends; doing it where it begins as well
# would cost every message another trip to the thread.
request_started.disconnect(close_old_connections)
request_started.disconnect(reset_queries)

application = Site()
resolve("/healthz")  # imports the views now, not while the first message waits
