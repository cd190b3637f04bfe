"""Open connections to destinations, and use them again for a moment.

A message is being sent: delivery.py asks for one request, exchange.py makes it over one of these
connections. All of a delivery that needs aiohttp is in these two modules, so that a site starts
without it; jobsite/asgi.py imports them meanwhile.

aiohttp's own client has no switch for one request per attempt, cannot send header values that are
not text, and takes 0.33 ms of processor time to start a request; this takes 0.12 (1,000 at once).
Its parser does the difficult part here too.
"""

import asyncio
import base64
import functools
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import aiohappyeyeballs
from yarl import URL

from broker.exchange import END_OF_HEAD, Connection, Response
from broker.headers import header_bytes
from broker.resolver import Lookup, PrivateAddress, Resolver

# A free connection is kept for a second at most: a server that closes an idle one just then
# (gunicorn after 5 s, node after 5 s) would cost the message an attempt.
KEEPALIVE_SECONDS = 1.0
# When to try a host's next address alongside the first: https://www.rfc-editor.org/rfc/rfc8305
NEXT_ADDRESS_SECONDS = 0.25
# Without a body, these have no Content-Length: https://www.rfc-editor.org/rfc/rfc9110#section-8.6
WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

type Origin = tuple[str, str, int]  # scheme, host, port


class Connections:
    """The connections of one dispatcher, on one event loop."""

    def __init__(self, lookup: Lookup = socket.getaddrinfo) -> None:
        self.resolver = Resolver(lookup)
        self.free: dict[Origin, dict[Connection, asyncio.TimerHandle]] = {}
        self.closed = False

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, longest: int
    ) -> Response:
        """Make one request and no second one; one of exchange.FAILURES if it fails.

        Redirects are not followed and cookies not kept. The header values are text as
        `headers.header_text` makes it. Of the response's body, `longest` bytes are kept.
        """
        target, authorization = requested(url)
        head = request_head(method, target, headers, authorization, len(body))
        origin = target.scheme, target.raw_host or "", target.port or 0
        connection = self.reused(origin)
        if connection is None:
            connection = await self.opened(origin)
        try:
            return await connection.exchange(method, head, body, longest)
        finally:
            if connection.is_free and not self.closed:
                self.keep(origin, connection)
            else:
                # What has not been sent is discarded: the destination might never read it.
                connection.abort()

    def reused(self, origin: Origin) -> Connection | None:
        """Take a free connection, if there is one."""
        while free := self.free.get(origin):
            connection, timer = free.popitem()
            timer.cancel()
            if not free:
                del self.free[origin]
            if connection.is_connected() and not connection.should_close:
                return connection
            connection.abort()
        return None

    def keep(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection for other requests."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(KEEPALIVE_SECONDS, self.drop, origin, connection)
        self.free.setdefault(origin, {})[connection] = timer

    def drop(self, origin: Origin, connection: Connection) -> None:
        """Close a connection that nobody has used again."""
        connection.abort()
        del self.free[origin][connection]
        if not self.free[origin]:
            del self.free[origin]

    async def opened(self, origin: Origin) -> Connection:
        """Open a connection; ConnectionError if that fails, PrivateAddress if it is refused."""
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        over_tls = scheme == "https"
        try:
            addresses = await self.resolver.resolve(host, port)
            # With a socket it would take 0.06 ms longer.
            where: dict[str, Any] = {"host": addresses[0][4][0], "port": port}
            if len(addresses) > 1:
                connected = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS
                )
                where = {"sock": connected}
            _, connection = await loop.create_connection(
                lambda: Connection(loop),
                ssl=tls() if over_tls else None,
                server_hostname=host.rstrip(".") if over_tls else None,
                **where,
            )
        except PrivateAddress:
            raise
        except OSError as error:
            raise ConnectionError(f"cannot connect to {host}:{port}: {words(error)}") from error
        return connection

    async def aclose(self) -> None:
        """Close the connections that are free; the others are closed after their requests."""
        self.closed = True
        for connections in self.free.values():
            for connection, timer in connections.items():
                timer.cancel()
                connection.abort()
        self.free.clear()
        self.resolver.close()
        await asyncio.sleep(0)  # the event loop closes them in its next turn


@functools.cache
def tls() -> ssl.SSLContext:
    """Return how to speak TLS: with the certificates that this machine trusts."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def words(error: OSError) -> str:
    """Return what the system says about an error, without its number."""
    if isinstance(error, ssl.SSLError) or not error.errno or error.errno < 0:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def request_head(
    method: str, target: URL, headers: Mapping[str, str], authorization: str, length: int
) -> bytes:
    """Return the head of a request; ValueError if a line would be two, or has a NUL."""
    lines = [
        f"{method} {target.raw_path_qs} HTTP/1.1",
        f"Host: {target.host_port_subcomponent}",
        *[f"{name}: {value}" for name, value in headers.items()],
    ]
    if authorization and "Authorization" not in headers:
        lines.append(f"Authorization: {authorization}")
    if length or method not in WITHOUT_BODY:
        lines.append(f"Content-Length: {length}")
    text = "\r\n".join(lines)
    if max(text.count("\r"), text.count("\n")) >= len(lines) or "\0" in text:
        raise ValueError("a header contains a line break or a NUL")
    head = text.encode() + END_OF_HEAD
    return head if text.isascii() else header_bytes(head)


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
