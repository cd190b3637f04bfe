"""Send a request over a connection, and read the response to it.

delivery.py has signed a message, and connections.py has found a connection to its destination.
aiohttp parses the response, within limits for its lines, headers and body.
"""

import asyncio
import socket
from typing import NamedTuple, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

from broker.headers import response_header

# What a destination may do to an exchange, besides not answering in time.
FAILURES = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)
LONGEST_ERROR = 1000
# The head of a response: 1 MiB at most, and so many interim responses (100 Continue) before it.
LONGEST_HEADER_LINE = 8190
MOST_HEADERS = 128
MOST_INTERIM_RESPONSES = 100
END_OF_HEAD = b"\r\n\r\n"
# A transport over TLS does not say how much of what it has encrypted is still to be sent. So much
# of a body fits in what the kernel buffers.
LARGEST_OVER_TLS = 16 * 1024
SWITCHING_PROTOCOLS = 101  # the one interim response that is also the last
# What the kernel buffers for a connection, and so what is read at once: responses are short, and
# an endless one should neither fill the memory nor block the event loop while it is parsed.
RECEIVE_BYTES = 32 * 1024


class Response(NamedTuple):
    """A response: its header as {canonical name: [value, …]}, and its body up to a limit."""

    status: int
    header: dict[str, list[str]]
    body: bytes


class Connection(ResponseHandler):
    """A connection to a destination, for one request at a time.

    `is_free` says whether another request may follow. A response that exceeds all limits closes
    the connection: aiohttp limits lines, headers and bodies, but reads interim responses, empty
    lines and the frames of a chunked body without end, and no other message moves meanwhile.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.room, self.is_free = 0, True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        connected = cast(socket.socket, transport.get_extra_info("socket"))
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)

    async def exchange(self, method: str, head: bytes, body: bytes, longest: int) -> Response:
        """Send a request and read the response, up to `longest` bytes of its body.

        One of FAILURES if there is none.
        """
        self.is_free = False
        self.room = LONGEST_HEADER_LINE * MOST_HEADERS + 4 * longest
        self.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=LONGEST_HEADER_LINE,
            max_field_size=LONGEST_HEADER_LINE,
            max_headers=MOST_HEADERS,
        )
        if self.transport:  # without one, `read` says why
            self.transport.write(head + body)
        message, content = await self.read()
        while 100 <= message.code <= 199 and message.code != SWITCHING_PROTOCOLS:
            message, content = await self.read()
        kept = bytearray()
        while len(kept) < longest and (piece := await content.readany()):
            kept += piece
        self.is_free = (
            not self.should_close  # the response has been read to its end, and nothing follows it
            and self.transport is not None
            and is_sent(self.transport, len(body))
        )
        header = response_header(message.headers.items())
        return Response(message.code, header, bytes(kept[:longest]))

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


def is_sent(transport: asyncio.Transport, length: int) -> bool:
    """Whether a request with such a body has been sent whole; False if that cannot be known."""
    is_small = length <= LARGEST_OVER_TLS or transport.get_extra_info("ssl_object") is None
    return is_small and transport.get_write_buffer_size() == 0


def reason(error: Exception) -> str:
    """Return what went wrong, as one line that any database can store."""
    text = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ServerDisconnectedError):
        text = "the connection was closed before there was an answer"
    elif isinstance(error, HttpProcessingError):
        text = f"the answer is not HTTP: {error.message}"
    text = " ".join(text.replace("\0", "").split())[:LONGEST_ERROR]
    return text.encode(errors="backslashreplace").decode()
