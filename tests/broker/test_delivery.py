"""One attempt against a real HTTP server: what it gets, and what its answer becomes."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import test_utils, web

from broker import delivery
from broker.delivery import LARGEST_RESPONSE, Outcome, attempt, canonical, open_session
from broker.models import Message
from jobs.signatures import verify
from tests.broker.messages import new_message

KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"


class Server:
    """A destination on a free port, which keeps requests and answers with `answer`."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.answer: dict[str, object] = {}

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.requests.append(request)
        self.bodies.append(await request.read())
        return web.Response(**self.answer)

    async def get(self, session: aiohttp.ClientSession, path="/", **fields: object) -> Outcome:
        """Deliver a message to this server."""
        return await attempt(session, new_message(url=self.url + path, **fields), KEY)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    destination = Server()
    async with test_utils.RawTestServer(destination.handle) as running:
        destination.url = str(running.make_url("")).rstrip("/")
        yield destination


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(limit=10) as opened:
        yield opened


async def raw_server(answer: bytes) -> asyncio.Server:
    """A server that says these bytes to whoever connects, and hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return await asyncio.start_server(handle, "127.0.0.1", 0)


async def attempt_at(raw: asyncio.Server, session: aiohttp.ClientSession) -> Outcome:
    async with raw:
        port = raw.sockets[0].getsockname()[1]
        return await attempt(session, new_message(url=f"http://127.0.0.1:{port}/"), KEY)


async def test_body_arrives_byte_for_byte(server, session):
    body = bytes(range(256)) * 100
    assert (await server.get(session, body=body)).accepted
    assert server.bodies == [body]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_method_is_the_publishers_and_has_its_body(server, session, method):
    await server.get(session, method=method, body=b"body")
    assert (server.requests[0].method, server.bodies) == (method, [b"body"])


async def test_destination_gets_the_documented_headers(server, session):
    message = new_message(url=server.url, retried=2, caller_ip="1.2.3.4")
    await attempt(session, message, KEY)
    headers = server.requests[0].headers
    assert headers["User-Agent"] == "Upstash-QStash"
    assert headers["Upstash-Message-Id"] == message.message_id
    assert (headers["Upstash-Retried"], headers["Upstash-Caller-Ip"]) == ("2", "1.2.3.4")


async def test_destination_gets_no_header_that_nobody_asked_for(server, session):
    await server.get(session, body=b"{}")
    assert {name.title() for name in server.requests[0].headers} == {
        "Host", "Content-Length", "User-Agent", "Upstash-Message-Id", "Upstash-Retried",
        "Upstash-Signature",
    }  # fmt: skip


async def test_forwarded_headers_arrive_with_all_their_values(server, session):
    await server.get(session, header={"Content-Type": ["a/b"], "X-A": ["1", "ü"]})
    headers = server.requests[0].headers
    assert (headers["Content-Type"], headers.getall("X-A")) == ("a/b", ["1", "ü"])


async def test_our_headers_cannot_be_overridden(server, session):
    forged = {"user-agent": ["forged"], "Upstash-Retried": ["9"], "Upstash-Signature": ["forged"]}
    await server.get(session, header=forged)
    headers = server.requests[0].headers
    assert headers.getall("User-Agent") == ["Upstash-QStash"]
    assert headers.getall("Upstash-Retried") == ["0"]
    assert "forged" not in headers.getall("Upstash-Signature")


async def test_signature_fits_the_url_and_the_body(server, session):
    await server.get(session, "/a%2Fb?c=%20d", body=b"body")
    signature = server.requests[0].headers["Upstash-Signature"]
    claims = verify(signature, b"body", server.url + "/a%2Fb?c=%20d", [KEY])
    assert abs(claims["iat"] - time.time()) < 60


async def test_every_attempt_is_signed_anew(server, session):
    message = new_message(url=server.url)
    for _ in range(2):
        await attempt(session, message, KEY)
    first, second = (request.headers["Upstash-Signature"] for request in server.requests)
    assert first != second


@pytest.mark.parametrize("path", ["/a%2Fb//c?x=%2F&y=a+b%20c&&z=[1]", "/%C3%A9;v=1?q=%22"])
async def test_url_is_asked_for_as_it_was_published(server, session, path):
    await server.get(session, path)
    assert server.requests[0].raw_path == path


async def test_answer_becomes_an_outcome(server, session):
    server.answer = {"status": 500, "body": b"\x00oops", "headers": {"x-request-ID": "1"}}
    outcome = await server.get(session)
    assert (outcome.status, outcome.body, outcome.error) == (500, b"\x00oops", "HTTP 500")
    assert outcome.header["X-Request-Id"] == ["1"]


@pytest.mark.parametrize(("status", "accepted"), [(200, 1), (201, 1), (299, 1), (304, 0), (404, 0)])
async def test_only_2xx_is_accepted(server, session, status, accepted):
    server.answer = {"status": status}
    assert (await server.get(session)).accepted == bool(accepted)


async def test_redirect_is_not_followed(server, session):
    server.answer = {"status": 307, "headers": {"Location": server.url + "/elsewhere"}}
    outcome = await server.get(session)
    assert (outcome.status, outcome.accepted, len(server.requests)) == (307, False, 1)


async def test_long_answer_is_cut(server, session):
    server.answer = {"body": b"x" * (LARGEST_RESPONSE + 100_000)}
    outcome = await server.get(session)
    assert (outcome.status, outcome.body) == (200, b"x" * LARGEST_RESPONSE)


async def test_cookies_are_not_kept(server, session):
    server.answer = {"headers": {"Set-Cookie": "a=b"}}
    await server.get(session)
    server.answer = {}
    await server.get(session)
    assert "Cookie" not in server.requests[1].headers


async def test_answer_that_does_not_come_in_time_is_an_error(session):
    async def never(request: web.BaseRequest) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with test_utils.RawTestServer(never) as slow:
        message = new_message(url=str(slow.make_url("/")), timeout_seconds=0.05)
        outcome = await attempt(session, message, KEY)
    assert outcome == Outcome(0, {}, b"", "no answer within 0.05 s")


async def test_connection_refused_is_an_error(session, unused_tcp_port):
    outcome = await attempt(session, new_message(url=f"http://127.0.0.1:{unused_tcp_port}/"), KEY)
    assert (outcome.status, outcome.header, outcome.body) == (0, {}, b"")
    assert str(unused_tcp_port) in outcome.error


@pytest.mark.parametrize(
    "url", ["http://nobody.invalid/", "http://a%20b/", "http://.../", f"http://{'a' * 70}.test/"]
)
async def test_host_that_cannot_be_found_is_an_error(session, url):
    outcome = await attempt(session, new_message(url=url), KEY)
    assert outcome.status == 0
    assert outcome.error


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
async def test_broken_answer_is_an_error(session, answer):
    outcome = await attempt_at(await raw_server(answer), session)
    assert outcome.status == 0
    assert outcome.error


async def test_header_that_is_no_text_can_be_stored(session, transactional_db):
    answer = b"HTTP/1.1 500 X\r\nX-Name: caf\xe9\r\nContent-Length: 0\r\n\r\n"
    outcome = await attempt_at(await raw_server(answer), session)
    message = await Message.objects.acreate(
        url="http://target.test/", not_before=0, header=outcome.header
    )
    await message.arefresh_from_db()
    assert message.header["X-Name"] == ["caf�"]


@pytest.mark.parametrize(
    ("status", "header", "hopeless"),
    [
        (489, {"Upstash-Nonretryable-Error": ["true"]}, True),
        (489, {"Upstash-Nonretryable-Error": ["True"]}, True),
        (489, {"Upstash-Nonretryable-Error": ["false"]}, False),
        (489, {}, False),
        (500, {"Upstash-Nonretryable-Error": ["true"]}, False),
    ],
)
def test_hopeless_needs_both_the_status_and_the_header(status, header, hopeless):
    assert Outcome(status, header, b"", "").hopeless is hopeless


async def test_header_of_a_hopeless_answer_is_recognised(server, session):
    server.answer = {"status": 489, "headers": {"Upstash-NonRetryable-Error": "true"}}
    assert (await server.get(session)).hopeless


def test_canonical_names_are_those_of_mime():
    names = ["x-a", "CONTENT-TYPE", "RunId", "upstash-message-id"]
    assert [canonical(name) for name in names] == [
        "X-A",
        "Content-Type",
        "Runid",
        "Upstash-Message-Id",
    ]


def test_idle_connections_are_given_up_before_common_servers_do():
    assert delivery.KEEPALIVE_SECONDS < 5
