"""Deliver a message to the site of this very process, without a socket.

The dispatcher has claimed a message. If its URL is one of this site's API, the same request that
delivery.py would send is made of it here, and passed to Django's handler. The outcome goes back to
the dispatcher.
"""

import asyncio
import io
from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest, get_script_prefix
from django.core.signals import request_started
from django.db import close_old_connections, connection
from django.http import HttpRequest
from django.urls import set_script_prefix

from broker import delivery
from broker.delivery import Outcome
from broker.headers import header_bytes, response_header
from broker.models import Message

# What the site sends itself has this account, and a URL below this path of the site.
ACCOUNT, API = "site", "/api/"
CLOSE_SECONDS = 1.0


class Handler(Protocol):
    """Django's ASGIHandler, of which this is used."""

    async def get_response_async(self, request: HttpRequest) -> Any: ...


class OwnSite:
    """Django's handler, the URL of its site, such as `https://jobs.example.com`, and the
    messages to it.

    A small job took 1.9 ms of a server's processor time with an ASGI application in the process,
    1.6 ms with Django's handler, and 2.6 ms over a socket (`benchmarks/peers.py`).
    """

    def __init__(self, handler: Handler, url: str) -> None:
        self.handler, self.url = handler, url
        self.scheme, self.host = urlsplit(url)[:2]
        # Settling an attempt flushes what its view has written. PostgreSQL may crash before that,
        # and this process settle all the same; SQLite loses nothing that this process survives.
        self.flush_now = connection.vendor != "sqlite"
        self.running: set[asyncio.Task[Outcome]] = set()
        self.closing: asyncio.Task[None] | None = None

    def has(self, message: Message) -> bool:
        """Whether a message is the site's own, and goes to its API."""
        return message.account == ACCOUNT and message.url.startswith(self.url + API)

    async def deliver(self, message: Message, key: str) -> Outcome:
        """Make one attempt to deliver a message to this site, like `delivery.deliver`.

        The view is cancelled if it takes too long, and if the dispatcher stops.
        """
        seconds = delivery.longest_seconds(message)
        request = asyncio.create_task(self.request(self.scope(message, key), bytes(message.body)))
        self.running.add(request)  # the event loop keeps no reference
        request.add_done_callback(self.running.discard)
        try:
            await asyncio.wait({request}, timeout=seconds)
            return request.result() if request.done() else delivery.no_answer_within(seconds)
        finally:
            request.cancel()

    async def request(self, scope: dict[str, Any], body: bytes) -> Outcome:
        """Do what Django's handler does for a request from a server, and read the response.
        https://docs.djangoproject.com/en/6.1/ref/signals/#module-django.core.signals
        """
        set_script_prefix(get_script_prefix(scope))
        await request_started.asend(sender=type(self.handler), scope=scope)
        request: Any = ASGIRequest(scope, io.BytesIO(body))
        request.flush_now = self.flush_now
        response = await self.handler.get_response_async(request)
        try:
            body = await read_up_to(response, settings.BROKER_RESPONSE_BYTES)
        finally:
            response.close()
            self.close_connections()
        return Outcome.answered(response.status_code, response_header(lines(response)), body)

    def close_connections(self) -> None:
        """Let the thread of Django's synchronous code close its database connection if it is
        broken or too old, but once a second: Django's way, after each request, takes 0.27 ms.
        """
        if self.closing is None or self.closing.done():
            self.closing = asyncio.create_task(close_later())

    def scope(self, message: Message, key: str) -> dict[str, Any]:
        """What ASGI servers make of the first lines of a request.
        https://asgi.readthedocs.io/en/latest/specs/www.html#http-connection-scope
        """
        path, _, query = message.url.removeprefix(self.url).partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": message.method,
            "scheme": self.scheme,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": list(self.headers(message, key)),
            "client": None,
            "server": None,
        }

    def headers(self, message: Message, key: str) -> Iterator[tuple[bytes, bytes]]:
        yield b"host", self.host.encode()
        yield b"content-length", str(len(message.body)).encode()
        for name, value in delivery.headers_for(message, key).items():
            yield name.lower().encode(), header_bytes(value.encode())


async def close_later() -> None:
    await asyncio.sleep(CLOSE_SECONDS)
    await sync_to_async(close_old_connections)()


async def read_up_to(response: Any, limit: int) -> bytes:
    """Return a response's body up to a limit; the rest is not made."""
    if not response.streaming:
        return bytes(response.content[:limit])
    body = bytearray()
    async for part in response:
        body += part
        if len(body) >= limit:
            break
    return bytes(body[:limit])


def lines(response: Any) -> Iterator[tuple[str, str]]:
    """The header of a response, as delivery.py reads it from a socket."""
    for name, value in response.items():
        text = (
            value if value.isascii() else value.encode("latin-1").decode(errors="surrogateescape")
        )
        yield name, text
    for cookie in response.cookies.values():
        yield "Set-Cookie", cookie.OutputString()
