"""Make one attempt to deliver a message: sign it, POST it, read the response.

The dispatcher has claimed the message and will settle the `Outcome`. Nothing here touches the
database, so any number of attempts may wait at once. The destination is not trusted: whatever
it does, an attempt ends in time, and what is kept of its response is limited.
"""

import asyncio
import base64
import functools
import io
import socket
import time
from typing import NamedTuple
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import aiohttp
from django.conf import settings
from multidict import CIMultiDict
from yarl import URL

from broker.connections import LONGEST_HEADER_LINE, MOST_HEADERS, Connection, Request
from broker.headers import request_headers, response_header
from broker.models import Message
from broker.resolver import Lookup, PrivateAddress, Resolver
from broker.signing import sign

USER_AGENT = "Upstash-QStash"
# A connection is reused for at most a second: a server that closes an idle one just then
# (gunicorn after 5 s, node after 5 s) would cost the message an attempt.
KEEPALIVE_SECONDS = 1.0
# aiohttp warns of larger bodies that are not a file.
LARGEST_IN_ONE_PIECE = 2**20
LONGEST_ERROR = 1000


class Outcome(NamedTuple):
    """The result of an attempt; if there was no response, `status` is 0 and `error` says why."""

    status: int
    header: dict[str, list[str]]
    body: bytes
    error: str

    @property
    def accepted(self) -> bool:
        return 200 <= self.status <= 299

    @property
    def hopeless(self) -> bool:
        """Whether the destination asks for no more attempts: 489 with the header for it."""
        asked = self.header.get("Upstash-Nonretryable-Error", [""])[0]
        return self.status == 489 and asked.lower() == "true"


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


async def deliver(session: aiohttp.ClientSession, message: Message, key: str) -> Outcome:
    """Make one attempt to deliver a message; never raise for what the destination does."""
    longest: float = settings.BROKER_TIMEOUT_SECONDS
    seconds = min(message.timeout_seconds or longest, longest)
    body = bytes(message.body)
    try:
        url, authorization = requested(message.url)
        headers = headers_for(message, key)
        if authorization:
            headers.setdefault("Authorization", authorization)
        async with (
            asyncio.timeout(seconds),
            session.request(
                message.method,
                url,
                data=body if len(body) <= LARGEST_IN_ONE_PIECE else io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
            ) as response,
        ):
            return Outcome(
                status=response.status,
                header=response_header(response.headers),
                body=await read_up_to(response, settings.BROKER_RESPONSE_BYTES),
                error="" if 200 <= response.status <= 299 else f"HTTP {response.status}",
            )
    except TimeoutError:
        return Outcome(0, {}, b"", f"no answer within {seconds} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Outcome(0, {}, b"", reason(error))


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


def headers_for(message: Message, key: str) -> CIMultiDict[str]:
    """Return the publisher's headers and ours, which cannot be overridden."""
    headers = request_headers(message.header)
    headers["User-Agent"] = USER_AGENT
    headers["Upstash-Message-Id"] = message.message_id
    headers["Upstash-Region"] = settings.BROKER_REGION
    headers["Upstash-Retried"] = str(message.retried)
    headers["Upstash-Signature"] = sign(message.url, bytes(message.body), key, int(time.time()))
    if message.caller_ip:
        headers["Upstash-Caller-Ip"] = message.caller_ip
    if message.schedule_id:
        headers["Upstash-Schedule-Id"] = message.schedule_id
    if message.url_group:
        headers["Upstash-Topic-Name"] = message.url_group
    return headers


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
