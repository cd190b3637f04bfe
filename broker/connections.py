"""Our side of a connection to a destination, and what aiohttp does not do by itself.

A message is being sent here. Its header values may be bytes that are not text, and the connection
to a destination that sends without end is closed. All of a delivery that needs aiohttp is in this
module and resolver.py, so that a site starts without it; jobsite/asgi.py imports it meanwhile.
"""

import asyncio
import base64
import functools
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection as Lent
from django.conf import settings
from yarl import URL

from broker.headers import header_bytes
from broker.resolver import Lookup, PrivateAddress, Resolver

# A connection is reused for at most a second: a server that closes an idle one just then
# (gunicorn after 5 s, node after 5 s) would cost the message an attempt.
KEEPALIVE_SECONDS = 1.0
# What a destination may do to an attempt, besides not answering in time.
FAILURES = (aiohttp.ClientError, OSError, ValueError)
LONGEST_ERROR = 1000
# The head of a response: 1 MiB at most, and so many interim responses (100 Continue) before it.
LONGEST_HEADER_LINE = 8190
MOST_HEADERS = 128
MOST_INTERIM_RESPONSES = 100
END_OF_HEAD = b"\r\n\r\n"


class Connection(ResponseHandler):
    """Close the connection when a response exceeds all limits.

    aiohttp limits lines, headers and bodies, but reads interim responses, empty lines and the
    frames of a chunked body without end, and no other message moves meanwhile.
    """

    room = LONGEST_HEADER_LINE * MOST_HEADERS

    def set_response_params(self, **params: Any) -> None:
        """Expect a new response; called before each request."""
        self.room = type(self).room + 4 * settings.BROKER_RESPONSE_BYTES
        super().set_response_params(**params)

    def close(self) -> None:
        """Discard what has not been sent: the destination might never read it."""
        self.abort()

    def data_received(self, data: bytes) -> None:
        # The head by itself, so that junk after a complete response does no harm: some servers
        # send a body with 204.
        head, end, rest = data.partition(END_OF_HEAD)
        super().data_received(head + end)
        if rest:
            super().data_received(rest)
        self.room -= len(data)
        if self.room < 0 or len(self._buffer) > MOST_INTERIM_RESPONSES:
            self._buffer.clear()
            self.set_exception(aiohttp.ClientPayloadError("the answer is a flood without end"))
            if self.transport:
                self.transport.abort()
        # aiohttp passes the error to code that waits for the head of a response, but not to code
        # that waits for its body.
        error, body = self.exception(), self._payload
        if error is not None and body is not None and not body.is_eof():
            text = getattr(error, "message", "") or str(error)
            body.set_exception(aiohttp.ClientPayloadError(text))


class Request(aiohttp.ClientRequest):
    """Send header values as the bytes they stand for; aiohttp can only send text."""

    async def send(self, conn: Lent) -> aiohttp.ClientResponse:
        protocol = conn.protocol
        if protocol is not None and not all(map(str.isascii, self.headers.values())):
            protocol.transport = Head(protocol, protocol.transport)  # type: ignore[assignment]
        return await super().send(conn)


class Head:
    """Stand in for a transport during one write, that of a request's head."""

    def __init__(self, protocol: ResponseHandler, transport: Any) -> None:
        self.protocol, self.transport = protocol, transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        self.protocol.transport = self.transport
        head, end, rest = bytes(data).partition(END_OF_HEAD)
        self.transport.write(header_bytes(head) + end + rest)

    def writelines(self, chunks: Iterable[bytes]) -> None:
        self.write(b"".join(chunks))


def open_session(limit: int, lookup: Lookup = socket.getaddrinfo) -> aiohttp.ClientSession:
    """Open the session of a dispatcher, for up to `limit` deliveries at once."""
    resolver = Resolver(lookup)
    connector = aiohttp.TCPConnector(
        limit=limit,
        keepalive_timeout=KEEPALIVE_SECONDS,
        resolver=resolver,
        socket_factory=resolver.make_socket,
    )
    # Two things for which aiohttp has no public switch: our side of a connection, and that an
    # attempt is one request, also a GET or PUT when the connection breaks.
    connector._factory = functools.partial(  # type: ignore[assignment]  # it makes a subclass
        Connection, loop=asyncio.get_running_loop()
    )
    session = aiohttp.ClientSession(
        connector=connector,
        request_class=Request,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=["Content-Type", "Accept", "Accept-Encoding"],
        timeout=aiohttp.ClientTimeout(),
        max_line_size=LONGEST_HEADER_LINE,
        max_field_size=LONGEST_HEADER_LINE,
        max_headers=MOST_HEADERS,
    )
    session._retry_connection = False
    return session


def requested(url: str) -> tuple[URL, str]:
    """Return the URL to request, and an Authorization header for its `user:password@`.

    Everything after the host stays as it was published. A host with other than ASCII letters
    gets its name in the DNS; ValueError if it can have none.
    """
    parts = urlsplit(url)
    target, authorization = URL(url, encoded=True), ""
    if "@" in parts.netloc:
        credentials = unquote_to_bytes(f"{parts.username or ''}:{parts.password or ''}")
        authorization = f"Basic {base64.b64encode(credentials).decode()}"
        target = target.with_user(None)
    host = parts.hostname or ""
    if "%" in host or not host.isascii():
        target = target.with_host(unquote(host))
    return target, authorization


async def read_up_to(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the body up to a limit; the rest is not read."""
    chunks = bytearray()
    async for chunk in response.content.iter_any():
        chunks += chunk
        if len(chunks) >= limit:
            response.close()
            break
    return bytes(chunks[:limit])


def reason(error: Exception) -> str:
    """Return what went wrong, as one line that any database can store."""
    text = str(error) or type(error).__name__
    refused = getattr(error, "os_error", None)
    if isinstance(refused, PrivateAddress):
        text = str(refused.strerror)
    elif isinstance(error, aiohttp.ServerDisconnectedError):
        text = "the connection was closed before there was an answer"
    elif isinstance(error, aiohttp.ClientResponseError):
        text = f"the answer is not HTTP: {error.message}"
    text = " ".join(text.replace("\0", "").split())[:LONGEST_ERROR]
    return text.encode(errors="backslashreplace").decode()
