"""One request and its response over a connection. Floods are in test_hostile_destinations.py."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest
from aiohttp.http_exceptions import BadHttpMessage

from broker.exchange import LONGEST_ERROR, RECEIVE_BYTES, Connection, Response, reason
from harness.waiting import until

HEAD = b"POST / HTTP/1.1\r\n\r\n"


class Peer:
    """The other end of a connection, which says `answers`, one after each request."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.got: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while len(self.got) < len(self.answers) or not self.answers:
                self.got.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(self.answers[len(self.got) - 1])
        writer.close()


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
async def connection(peer: Peer) -> AsyncIterator[Connection]:
    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(peer.handle, "127.0.0.1", 0) as running:
        address = running.sockets[0].getsockname()
        _, opened = await loop.create_connection(lambda: Connection(loop), *address)
        yield opened
        opened.abort()
        await asyncio.sleep(0)


async def test_response_is_read_whole(peer, connection):
    peer.answers = [b"HTTP/1.1 201 Created\r\nx-a: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nok"]
    response = await connection.exchange("POST", HEAD, b"", 1000)
    assert response == Response(201, {"X-A": ["1", "2"], "Content-Length": ["2"]}, b"ok")
    assert peer.got == [HEAD]


async def test_interim_responses_are_not_the_answer(peer, connection):
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    peer.answers = [interim + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    assert (await connection.exchange("POST", HEAD, b"", 1000)).status == 200


async def test_answer_to_head_has_no_body(peer, connection):
    peer.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"] * 2
    for _ in range(2):
        response = await connection.exchange("HEAD", HEAD, b"", 1000)
        assert (response.status, response.body, connection.is_free) == (200, b"", True)


async def test_body_without_a_length_ends_with_the_connection(peer, connection):
    peer.answers = [b"HTTP/1.1 200 OK\r\n\r\nto the end"]
    assert (await connection.exchange("POST", HEAD, b"", 1000)).body == b"to the end"
    assert not connection.is_free


@pytest.mark.parametrize(("length", "free"), [(1000, True), (1001, False)])
async def test_connection_is_free_once_the_response_is_read(peer, connection, length, free):
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()
    peer.answers = [head + b"x" * 1000]
    assert (await connection.exchange("POST", HEAD, b"", 1000)).body == b"x" * 1000
    assert connection.is_free == free


async def test_connection_that_is_lost_before_the_request_is_an_error(peer, connection):
    peer.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]
    await connection.exchange("POST", HEAD, b"", 1000)
    await until(lambda: not connection.is_connected())  # it closes after the last answer
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await connection.exchange("POST", HEAD, b"", 1000)


async def test_little_is_read_at_once(connection):
    line = connection.transport.get_extra_info("socket")
    # Linux doubles what is set: https://man7.org/linux/man-pages/man7/socket.7.html
    assert line.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * RECEIVE_BYTES


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (aiohttp.ServerDisconnectedError(), "the connection was closed before there was an answer"),
        (BadHttpMessage("Bad status line:\n  b'SSH'"), "the answer is not HTTP: Bad status line: "),
        (ValueError(), "ValueError"),
        (OSError("a\0b\n c"), "ab c"),
        (OSError("\udce9"), "\\udce9"),
        (OSError("x" * 2000), "x" * LONGEST_ERROR),
    ],
)
def test_reason_is_one_line_that_can_be_stored(error, said):
    text = reason(error)
    assert text.startswith(said)
    assert "\n" not in text
    assert len(text) <= LONGEST_ERROR + 20
