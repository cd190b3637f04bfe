"""A hostile destination holds only its own attempt: real sockets, and the worst one can send.

Each behaviour gets a thread for itself, so that it floods as fast as another process would.
"""

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager

import aiohttp
import psutil
import pytest
from aiohttp import test_utils, web

from broker.delivery import Outcome, attempt, open_session
from tests.broker.messages import new_message

KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(10_000_000))

type Behaviour = Callable[[socket.socket], None]


def say(*pieces: bytes, wait: float = 0, then_hold: bool = False) -> Behaviour:
    """Send these, one after the other; then hang up, or hold the line."""

    def behave(line: socket.socket) -> None:
        for piece in pieces:
            line.sendall(piece)
            time.sleep(wait)
        while then_hold and line.recv(65536):
            pass

    return behave


def flood(first: bytes, more: bytes) -> Behaviour:
    def behave(line: socket.socket) -> None:
        line.sendall(first)
        while True:
            line.sendall(more)

    return behave


SLOW = {
    "never answers": say(then_hold=True),
    "one byte at a time, of the head": say(*[b"H"], *[b"T"] * 1000, wait=0.02),
    "one byte at a time, of the body": say(OK + b"\r\n", *[b"x"] * 1000, wait=0.02),
    "half a head": say(OK + b"X-A: ", then_hold=True),
    "less than it announced": say(OK + b"Content-Length: 9\r\n\r\nx", then_hold=True),
}
FLOODS = {
    "a header without end": flood(OK + b"X-A: ", b"x" * 65536),
    "headers without end": flood(OK, b"X-A: 1\r\n" * 8000),
    "a status line without end": flood(b"HTTP/1.1 200 ", b"x" * 65536),
    "no HTTP": flood(b"", b"\x00\xff" * 30000),
    "empty lines": flood(b"", b"\r\n" * 30000),
    "interim answers": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 4000),
    "early hints": flood(b"", b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * 4000),
    "a chunk's size without end": flood(CHUNKED, b"0" * 65536),
    "a chunk's extension without end": flood(CHUNKED + b"1;", b"x" * 65536),
    "trailers without end": flood(CHUNKED + b"0\r\n", b"X-A: 1\r\n" * 8000),
    "a trailer without end": flood(CHUNKED + b"0\r\nX-A: ", b"x" * 65536),
}
ENDLESS = {
    "a body without end": flood(OK + b"\r\n", b"x" * 65536),
    "more than any disk holds": flood(
        OK + b"Content-Length: 999999999999999\r\n\r\n", b"x" * 65536
    ),
    "chunks of one byte": flood(CHUNKED, b"1\r\nx\r\n" * 10000),
}
BROKEN = {
    "hangs up": say(),
    "hangs up amid the head": say(OK + b"X-"),
    "hangs up amid the body": say(OK + b"Content-Length: 9\r\n\r\nx"),
    "hangs up amid a chunk": say(CHUNKED + b"9\r\nx"),
    "garbage": say(b"SSH-2.0\r\n"),
    "a bad chunk, at once": say(CHUNKED + b"-1\r\nx\r\n"),
    "a bad chunk, later": say(CHUNKED, b"zz\r\nx\r\n", wait=0.05, then_hold=True),
    "two lengths": say(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
    "a length below zero": say(OK + b"Content-Length: -1\r\n\r\nx"),
    "a header with NUL": say(OK + b"X-A: \0\r\nContent-Length: 0\r\n\r\n"),
    "another protocol": say(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
}


@contextmanager
def destination(behave: Behaviour) -> Iterator[str]:
    """A server that behaves like this to all who connect; its URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)
    lines: list[socket.socket] = []

    def answer(line: socket.socket) -> None:
        with line:
            try:
                if b"\r\n\r\n" in line.recv(65536):
                    behave(line)
            except OSError:
                pass  # the dispatcher has hung up, or the test is over

    def serve() -> None:
        while True:
            try:
                line, _ = listener.accept()
            except OSError:
                return
            lines.append(line)
            threading.Thread(target=answer, args=[line], daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        for end in (listener, *lines):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # closed already
        thread.join()
        listener.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(limit=1000) as opened:
        yield opened


@pytest.fixture
async def healthy() -> AsyncIterator[str]:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response()

    async with test_utils.RawTestServer(answer) as running:
        yield str(running.make_url("/"))


async def deliver(
    session: aiohttp.ClientSession, behave: Behaviour, seconds: float = 20
) -> tuple[Outcome, float]:
    """What an attempt came to, and how many seconds it took."""
    with destination(behave) as url:
        began = time.monotonic()
        outcome = await attempt(session, new_message(url=url, timeout_seconds=seconds), KEY)
        return outcome, time.monotonic() - began


@pytest.mark.parametrize("name", SLOW)
async def test_slow_destination_has_until_its_timeout(session, name):
    outcome, seconds = await deliver(session, SLOW[name], seconds=0.2)
    assert outcome == Outcome(0, {}, b"", "no answer within 0.2 s")
    assert seconds < 2


@pytest.mark.parametrize("name", FLOODS)
async def test_flood_is_cut_off(session, name):
    outcome, seconds = await deliver(session, FLOODS[name])
    assert outcome.status == 0
    assert outcome.error
    assert seconds < 5


@pytest.mark.parametrize("name", ENDLESS)
async def test_endless_body_is_cut(session, settings, name):
    settings.BROKER_RESPONSE_BYTES = 10_000
    outcome, seconds = await deliver(session, ENDLESS[name])
    assert (outcome.status, outcome.body) == (200, b"x" * 10_000)
    assert seconds < 5


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_answer_is_a_failed_attempt(session, name):
    outcome, seconds = await deliver(session, BROKEN[name])
    assert not outcome.accepted
    assert outcome.error
    assert seconds < 5


async def test_compressed_bomb_is_not_unpacked(session):
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB)
    outcome, _ = await deliver(session, say(head + BOMB))
    assert (outcome.status, outcome.body) == (200, BOMB)


async def test_redirect_to_itself_is_one_failed_attempt(session):
    answer = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    outcome, _ = await deliver(session, say(answer))
    assert (outcome.status, outcome.error) == (302, "HTTP 302")


async def test_destination_that_reads_nothing_has_until_its_timeout(session):
    with destination(lambda line: time.sleep(1)) as url:
        message = new_message(url=url, body=bytes(5_000_000), timeout_seconds=0.2)
        assert (await attempt(session, message, KEY)).error == "no answer within 0.2 s"


async def test_hundred_megabytes_of_headers_cost_no_memory(session):
    process = psutil.Process()
    before = process.memory_info().rss
    header = b"X-A: %b\r\n" % (b"x" * 8000)
    outcome, _ = await deliver(session, say(OK, *[header * 100] * 125))
    assert outcome.status == 0
    assert process.memory_info().rss - before < 20_000_000


async def test_healthy_destination_does_not_notice_hostile_ones(session, healthy):
    took: list[float] = []
    with ExitStack() as running:
        every = [*SLOW.values(), *FLOODS.values(), *ENDLESS.values(), *BROKEN.values()]
        urls = [running.enter_context(destination(behave)) for behave in every] * 3
        messages = [new_message(url=url, timeout_seconds=1) for url in urls]
        hostile = asyncio.gather(*(attempt(session, message, KEY) for message in messages))
        while not hostile.done():
            began = time.monotonic()
            assert (await attempt(session, new_message(url=healthy), KEY)).accepted
            took.append(time.monotonic() - began)
    print("LAT", len(took), sorted(took)[len(took) // 2], sorted(took)[-5:])
    assert max(took) < 0.5
