"""Our side of a connection to a destination: what aiohttp does not do by itself.

A message is being sent here. Its header values may be bytes that are not text, and the connection
to a destination that sends without end is closed.
"""

from collections.abc import Iterable
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection as Lent
from django.conf import settings

from broker.headers import header_bytes

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
