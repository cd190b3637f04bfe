"""Connections to destinations: opened, used again, given up. Real servers, real sockets."""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from broker import connections as module
from broker.connections import Connections, request_head, requested, words
from broker.exchange import Response
from broker.headers import header_text
from harness.nginx import make_certificate
from harness.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Server:
    """Counts its connections; `answer` answers each request of a connection."""

    def __init__(self) -> None:
        self.connected = 0
        self.answer: Callable[[asyncio.StreamWriter], None] = lambda writer: writer.write(OK)
        self.writers: list[asyncio.StreamWriter] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        self.writers.append(writer)
        while not writer.is_closing():
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                writer.close()
                break
            self.answer(writer)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    counting = Server()
    async with await asyncio.start_server(counting.handle, "127.0.0.1", 0) as running:
        counting.port = running.sockets[0].getsockname()[1]
        counting.url = f"http://127.0.0.1:{counting.port}/"
        yield counting
        for writer in counting.writers:
            writer.close()


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    async with aclosing(Connections()) as opened:
        yield opened


async def post(connections: Connections, url: str, body: bytes = b"") -> Response:
    async with asyncio.timeout(10):
        return await connections.request("POST", url, {}, body, 1000)


def naming(*hosts: str) -> Any:
    """A name server that knows these addresses, and keeps what it was asked in `asked`."""

    def lookup(name: str, port: int, *more: object) -> list[tuple[Any, ...]]:
        lookup.asked.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    lookup.asked = []
    return lookup


async def test_connection_is_used_again(server, connections):
    for _ in range(3):
        assert (await post(connections, server.url)).status == 200
    assert server.connected == 1


async def test_requests_at_once_have_a_connection_each(server, connections):
    await asyncio.gather(*(post(connections, server.url) for _ in range(3)))
    assert server.connected == 3


async def test_connection_that_nobody_uses_is_closed(server, connections, monkeypatch):
    monkeypatch.setattr(module, "KEEPALIVE_SECONDS", 0.01)
    await post(connections, server.url)
    await until(lambda: server.writers[0].is_closing())
    assert not connections.free
    await post(connections, server.url)
    assert server.connected == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK + OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ],
)
async def test_connection_with_more_to_come_is_not_used_again(server, connections, answer):
    server.answer = lambda writer: writer.write(answer)
    await post(connections, server.url)
    assert not connections.free
    await post(connections, server.url)
    assert server.connected == 2


async def test_nothing_is_left_of_an_origin_that_closes_its_connections(server, connections):
    await post(connections, server.url)
    server.answer = lambda writer: writer.write(
        OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    )
    await post(connections, server.url)
    assert connections.free == {}


async def test_answer_to_no_request_is_never_taken_for_one(server, connections):
    await post(connections, server.url)
    server.writers[0].write(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
    (free,) = connections.free.values()
    await until(lambda: next(iter(free)).should_close)
    assert (await post(connections, server.url)).status == 200
    assert server.connected == 2


async def test_connection_that_the_server_has_closed_costs_no_attempt(server, connections):
    await post(connections, server.url)
    server.writers[0].close()
    (free,) = connections.free.values()
    await until(lambda: not next(iter(free)).is_connected())
    assert (await post(connections, server.url)).status == 200


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_connection_is_not_used_again_while_its_request_is_not_read(
    trusting, certificate, scheme
):
    async def answer_unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        writer.write(OK)
        await ended.wait()
        writer.transport.abort()

    ended = asyncio.Event()
    context = serving(certificate) if scheme == "https" else None
    start = asyncio.start_server(answer_unread, "127.0.0.1", 0, ssl=context)
    async with await start as running, aclosing(Connections(naming("127.0.0.1"))) as connections:
        url = f"{scheme}://one.test:{running.sockets[0].getsockname()[1]}/"
        try:
            assert (await post(connections, url, bytes(30_000_000))).status == 200
            assert not connections.free
        finally:
            ended.set()


async def test_cancelled_request_closes_its_connection(server, connections):
    server.answer = lambda writer: None
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await connections.request("POST", server.url, {}, b"", 1000)
    await until(lambda: server.writers[0].is_closing())
    assert not connections.free


async def test_request_that_ends_after_the_close_keeps_no_connection(server):
    connections = Connections()
    started = asyncio.Event()
    server.answer = lambda writer: started.set()
    request = asyncio.create_task(post(connections, server.url))
    await started.wait()
    await connections.aclose()
    server.writers[0].write(OK)
    assert (await request).status == 200
    assert not connections.free


async def test_next_address_is_tried_if_the_first_refuses(server):
    async with aclosing(Connections(naming("127.0.0.2", "127.0.0.1"))) as connections:
        assert (await post(connections, f"http://two.test:{server.port}/")).status == 200


async def test_address_that_says_nothing_does_not_hold_up_the_next(server, monkeypatch):
    monkeypatch.setattr(module, "NEXT_ADDRESS_SECONDS", 0.01)
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.2", server.port))
        full.listen(0)  # the kernel drops what does not fit
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        async with aclosing(Connections(naming("127.0.0.2", "127.0.0.1"))) as connections:
            assert (await post(connections, f"http://two.test:{server.port}/")).status == 200


async def test_messages_to_one_host_are_one_lookup(server):
    lookup = naming("127.0.0.1")
    async with aclosing(Connections(lookup)) as connections:
        url = f"http://one.test:{server.port}/"
        await asyncio.gather(*(post(connections, url) for _ in range(5)))
        await post(connections, url)
    assert lookup.asked == ["one.test"]


async def test_failed_lookup_is_made_again(server):
    working = naming("127.0.0.1")

    def lookup(*asked: Any) -> list[tuple[Any, ...]]:
        tries.append(asked)
        if len(tries) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return working(*asked)

    tries: list[Any] = []
    async with aclosing(Connections(lookup)) as connections:
        url = f"http://one.test:{server.port}/"
        reason = "cannot connect to one.test:.*: Temporary failure in name resolution"
        with pytest.raises(ConnectionError, match=reason):
            await post(connections, url)
        assert (await post(connections, url)).status == 200


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path, "DNS:one.test")


def serving(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
async def over_tls(certificate: tuple[Path, Path]) -> AsyncIterator[Server]:
    counting = Server()
    start = asyncio.start_server(counting.handle, "127.0.0.1", 0, ssl=serving(certificate))
    async with await start as running:
        counting.port = running.sockets[0].getsockname()[1]
        yield counting
        for writer in counting.writers:
            writer.close()


@pytest.fixture
def trusting(monkeypatch, certificate: tuple[Path, Path]) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    fresh = module.tls.__wrapped__()
    monkeypatch.setattr(module, "tls", lambda: fresh)


async def test_certificate_that_the_machine_trusts_is_accepted(trusting, over_tls):
    async with aclosing(Connections(naming("127.0.0.1"))) as connections:
        for _ in range(2):
            url = f"https://one.test:{over_tls.port}/"
            assert (await post(connections, url)).status == 200
    assert over_tls.connected == 1


async def test_certificate_of_another_host_is_refused(trusting, over_tls):
    async with aclosing(Connections(naming("127.0.0.1"))) as connections:
        with pytest.raises(ConnectionError, match="Hostname mismatch"):
            await post(connections, f"https://other.test:{over_tls.port}/")


async def test_certificate_that_nobody_trusts_is_refused(over_tls):
    async with aclosing(Connections(naming("127.0.0.1"))) as connections:
        with pytest.raises(ConnectionError, match="self-signed certificate"):
            await post(connections, f"https://one.test:{over_tls.port}/")


async def test_server_without_tls_is_an_error_that_says_so(connections):
    async def answer_in_clear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 X\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer_in_clear, "127.0.0.1", 0) as running:
        port = running.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionError, match=r"cannot connect to 127.0.0.1:\d+: \[SSL"):
            await post(connections, f"https://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (OSError(errno.ENETUNREACH, "Multiple exceptions: …"), "Network is unreachable"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not"),
        (OSError("Multiple exceptions: one, two"), "Multiple exceptions: one, two"),
    ],
)
def test_reason_is_the_systems_without_a_number(error, said):
    assert words(error).startswith(said)


def head_of(method: str = "POST", url: str = "http://a.test/", length: int = 0, **more: str) -> str:
    target, authorization = requested(url)
    headers = CIMultiDict(more)
    return request_head(method, target, headers, authorization, length).decode("latin-1")


def test_head_is_as_in_the_rfc():
    assert head_of(url="http://a.test:81/b?c=d#e", length=5, A="1") == (
        "POST /b?c=d HTTP/1.1\r\nHost: a.test:81\r\nA: 1\r\nContent-Length: 5\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "length", "there"),
    [("GET", 0, False), ("HEAD", 0, False), ("GET", 1, True), ("POST", 0, True), ("PUT", 0, True)],
)
def test_length_is_named_where_a_server_expects_it(method, length, there):
    assert (f"Content-Length: {length}" in head_of(method, length=length)) == there


def test_header_that_is_not_text_becomes_its_bytes():
    assert "A: caf\xe9\r\n" in head_of(A=header_text("caf\xe9"))


@pytest.mark.parametrize("value", ["1\r\nB: 2", "1\nB: 2", "1\rB: 2", "1\0"])
def test_header_cannot_begin_another_line(value):
    with pytest.raises(ValueError, match="a line break or a NUL"):
        head_of(A=value)


@pytest.mark.parametrize("url", ["http://a.test", "http://[::1]/", "http://a.test:80/"])
def test_host_is_named_without_the_schemes_own_port(url):
    assert ("Host: [::1]\r\n" if "[" in url else "Host: a.test\r\n") in head_of(url=url)
