"""One attempt against a real HTTP server: what it gets, and what its answer becomes."""

import asyncio
import base64
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from aiohttp import test_utils, web

from broker.connections import KEEPALIVE_SECONDS, Connections
from broker.delivery import Outcome, deliver
from broker.headers import RESERVED, header_text
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

    async def get(self, connections: Connections, path="/", **fields: object) -> Outcome:
        """Deliver a message to this server."""
        return await deliver(connections, new_message(url=self.url + path, **fields), KEY)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    destination = Server()
    async with test_utils.RawTestServer(destination.handle) as running:
        destination.url = str(running.make_url("")).rstrip("/")
        yield destination


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    async with aclosing(Connections()) as opened:
        yield opened


async def raw_server(answer: bytes) -> asyncio.Server:
    """A server that sends these bytes on every connection, and closes it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return await asyncio.start_server(handle, "127.0.0.1", 0)


async def attempt_at(raw: asyncio.Server, connections: Connections) -> Outcome:
    async with raw:
        port = raw.sockets[0].getsockname()[1]
        return await deliver(connections, new_message(url=f"http://127.0.0.1:{port}/"), KEY)


async def test_body_arrives_byte_for_byte(server, connections):
    body = bytes(range(256)) * 100
    assert (await server.get(connections, body=body)).accepted
    assert server.bodies == [body]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_method_is_the_publishers_and_has_its_body(server, connections, method):
    await server.get(connections, method=method, body=b"body")
    assert (server.requests[0].method, server.bodies) == (method, [b"body"])


async def test_destination_gets_the_documented_headers(server, connections):
    message = new_message(url=server.url, retried=2, caller_ip="1.2.3.4")
    await deliver(connections, message, KEY)
    headers = server.requests[0].headers
    assert headers["User-Agent"] == "Upstash-QStash"
    assert headers["Upstash-Message-Id"] == message.message_id
    assert (headers["Upstash-Retried"], headers["Upstash-Caller-Ip"]) == ("2", "1.2.3.4")
    assert headers["Upstash-Region"] == "EU-CENTRAL-1"


async def test_region_is_the_one_of_the_settings(server, connections, settings):
    settings.BROKER_REGION = "US-EAST-1"
    await server.get(connections)
    assert server.requests[0].headers["Upstash-Region"] == "US-EAST-1"


async def test_destination_gets_no_header_that_nobody_asked_for(server, connections):
    await server.get(connections, body=b"{}")
    assert {name.title() for name in server.requests[0].headers} == {
        "Host", "Content-Length", "User-Agent", "Upstash-Message-Id", "Upstash-Region",
        "Upstash-Retried", "Upstash-Signature",
    }  # fmt: skip


async def test_forwarded_headers_arrive_with_all_their_values(server, connections):
    await server.get(connections, header={"Content-Type": ["a/b"], "X-A": ["1", "ü"]})
    headers = server.requests[0].headers
    assert (headers["Content-Type"], headers.getall("X-A")) == ("a/b", ["1", "ü"])


async def test_our_headers_cannot_be_overridden(server, connections):
    forged = {"user-agent": ["forged"], "Upstash-Retried": ["9"], "Upstash-Signature": ["forged"]}
    await server.get(connections, header=forged)
    headers = server.requests[0].headers
    assert headers.getall("User-Agent") == ["Upstash-QStash"]
    assert headers.getall("Upstash-Retried") == ["0"]
    assert "forged" not in headers.getall("Upstash-Signature")


async def test_signature_fits_the_url_and_the_body(server, connections):
    await server.get(connections, "/a%2Fb?c=%20d", body=b"body")
    signature = server.requests[0].headers["Upstash-Signature"]
    claims = verify(signature, b"body", server.url + "/a%2Fb?c=%20d", [KEY])
    assert abs(claims["iat"] - time.time()) < 60


async def test_schedule_and_url_group_are_named(server, connections):
    await server.get(connections, schedule_id="scd_1", url_group="group")
    headers = server.requests[0].headers
    assert (headers["Upstash-Schedule-Id"], headers["Upstash-Topic-Name"]) == ("scd_1", "group")


async def test_nothing_that_is_reserved_can_be_forwarded(server, connections):
    await server.get(connections, body=b"body", header={name.title(): ["9"] for name in RESERVED})
    headers = server.requests[0].headers
    assert "9" not in headers.values()
    assert server.bodies == [b"body"]


async def test_other_headers_of_upstash_arrive(server, connections):
    await server.get(connections, header={"Upstash-Workflow-Runid": ["wfr_1"]})
    assert server.requests[0].headers["Upstash-Workflow-Runid"] == "wfr_1"


@pytest.mark.parametrize("value", [b"caf\xc3\xa9", b"caf\xe9", b"\xff\xe2\x98\x83\x80", b"a\tb"])
async def test_bytes_of_a_header_leave_as_they_came(server, connections, value):
    header = {"X-Name": [header_text(value.decode("latin-1"))]}
    for body in (b"", b"\xf4\x8f\xba\x80" * 10_000):
        await server.get(connections, header=header, body=body)
        assert (b"X-Name", value) in server.requests[-1].raw_headers
        assert server.bodies[-1] == body


async def test_encoded_body_and_its_header_are_left_alone(server, connections):
    await server.get(connections, header={"Content-Encoding": ["gzip"]}, body=b"\x1f\x8b...")
    assert server.requests[0].headers["Content-Encoding"] == "gzip"
    assert server.requests[0].headers["Content-Length"] == "5"


async def test_every_attempt_is_signed_anew(server, connections):
    message = new_message(url=server.url)
    for _ in range(2):
        await deliver(connections, message, KEY)
    first, second = (request.headers["Upstash-Signature"] for request in server.requests)
    assert first != second


@pytest.mark.parametrize("path", ["/a%2Fb//c?x=%2F&y=a+b%20c&&z=[1]", "/%C3%A9;v=1?q=%22"])
async def test_url_is_asked_for_as_it_was_published(server, connections, path):
    await server.get(connections, path)
    assert server.requests[0].raw_path == path


async def test_credentials_of_a_url_become_basic_authorization(server, connections):
    url = server.url.replace("http://", "http://me:p%C3%A4ss%3A@") + "/a%2Fb"
    await deliver(connections, new_message(url=url), KEY)
    headers = server.requests[0].headers
    assert headers["Authorization"] == f"Basic {base64.b64encode('me:päss:'.encode()).decode()}"
    assert (headers["Host"], server.requests[0].raw_path) == (server.url[7:], "/a%2Fb")
    assert verify(headers["Upstash-Signature"], b"", url, [KEY])["sub"] == url


async def test_forwarded_authorization_goes_before_credentials(server, connections):
    url = server.url.replace("http://", "http://me:secret@")
    await deliver(connections, new_message(url=url, header={"Authorization": ["Bearer 1"]}), KEY)
    assert server.requests[0].headers.getall("Authorization") == ["Bearer 1"]


@pytest.mark.parametrize("host", ["b%C3%BCcher.test", "B%c3%bCcher.test", "bücher.test"])
async def test_host_in_another_script_is_looked_up_as_dns_knows_it(server, host):
    names, port = [], server.url.rpartition(":")[2]

    def lookup(name: str, *more: object) -> list[tuple[object, ...]]:
        names.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    async with aclosing(Connections(lookup)) as connections:
        url = f"http://{host}:{port}/a%2Fb"
        assert (await deliver(connections, new_message(url=url), KEY)).accepted
    headers = server.requests[0].headers
    assert (names, headers["Host"]) == (["xn--bcher-kva.test"], f"xn--bcher-kva.test:{port}")
    assert verify(headers["Upstash-Signature"], b"", url, [KEY])["sub"] == url


@pytest.mark.parametrize(
    "form", ["HTTP://127.0.0.1:{}", "http://127.0.0.1:{}?x=1", "http://%31%32%37.0.0.1:{}/"]
)
async def test_unusual_url_is_reached(server, connections, form):
    url = form.format(server.url.rpartition(":")[2])
    assert (await deliver(connections, new_message(url=url), KEY)).accepted


async def test_ipv6_literal_is_reached(server, connections):
    async with test_utils.RawTestServer(server.handle, host="::1") as running:
        url = f"http://[::1]:{running.port}/"
        assert (await deliver(connections, new_message(url=url), KEY)).accepted
    assert server.requests[0].headers["Host"] == url[7:-1]


async def test_answer_becomes_an_outcome(server, connections):
    server.answer = {"status": 500, "body": b"\x00oops", "headers": {"x-request-ID": "1"}}
    outcome = await server.get(connections)
    assert (outcome.status, outcome.body, outcome.error) == (500, b"\x00oops", "HTTP 500")
    assert outcome.header["X-Request-Id"] == ["1"]


@pytest.mark.parametrize(("status", "accepted"), [(200, 1), (201, 1), (299, 1), (304, 0), (404, 0)])
async def test_only_2xx_is_accepted(server, connections, status, accepted):
    server.answer = {"status": status}
    assert (await server.get(connections)).accepted == bool(accepted)


async def test_redirect_is_not_followed(server, connections):
    server.answer = {"status": 307, "headers": {"Location": server.url + "/elsewhere"}}
    outcome = await server.get(connections)
    assert (outcome.status, outcome.accepted, len(server.requests)) == (307, False, 1)


async def test_long_answer_is_cut(server, connections, settings):
    settings.BROKER_RESPONSE_BYTES = 1000
    server.answer = {"body": b"x" * 100_000}
    assert (await server.get(connections))[::2] == (200, b"x" * 1000)


async def test_compressed_answer_is_kept_as_it_came(server, connections):
    server.answer = {"body": b"\x1f\x8b...", "headers": {"Content-Encoding": "gzip"}}
    assert (await server.get(connections)).body == b"\x1f\x8b..."


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_attempt_is_one_request_also_when_the_connection_breaks(connections, method):
    heads = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as broken:
        port = broken.sockets[0].getsockname()[1]
        message = new_message(url=f"http://127.0.0.1:{port}/", method=method)
        outcome = await deliver(connections, message, KEY)
    assert outcome.error == "the connection was closed before there was an answer"
    assert len(heads) == 1


async def test_cookies_are_not_kept(server, connections):
    server.answer = {"headers": {"Set-Cookie": "a=b"}}
    await server.get(connections)
    server.answer = {}
    await server.get(connections)
    assert "Cookie" not in server.requests[1].headers


async def test_answer_that_does_not_come_in_time_is_an_error(connections):
    async def never(request: web.BaseRequest) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with test_utils.RawTestServer(never) as slow:
        message = new_message(url=str(slow.make_url("/")), timeout_seconds=0.05)
        outcome = await deliver(connections, message, KEY)
    assert outcome == Outcome(0, {}, b"", "no answer within 0.05 s")


async def test_no_attempt_takes_longer_than_the_setting(connections, settings):
    settings.BROKER_TIMEOUT_SECONDS = 0.05
    async with test_utils.RawTestServer(lambda request: asyncio.Event().wait()) as slow:
        for seconds in (None, 60):
            message = new_message(url=str(slow.make_url("/")), timeout_seconds=seconds)
            assert (await deliver(connections, message, KEY)).error == "no answer within 0.05 s"


async def test_connection_refused_is_an_error(connections, unused_tcp_port):
    outcome = await deliver(
        connections, new_message(url=f"http://127.0.0.1:{unused_tcp_port}/"), KEY
    )
    assert (outcome.status, outcome.header, outcome.body) == (0, {}, b"")
    assert str(unused_tcp_port) in outcome.error


@pytest.mark.parametrize(
    "url",
    [
        "http://nobody.invalid/",
        "http://a%20b/",
        "http://.../",
        f"http://{'a' * 70}.test/",
        "http://xn--a/",
        "http://a%2Fb/",
        "http://a%00b/",
        "http://[v1.a]/",
        "http://a:99999/",
        "http://[fe80::1%25nothing]/",
        "http://%F0%9F/",
    ],
)
async def test_host_that_cannot_be_found_is_an_error(connections, url):
    outcome = await deliver(connections, new_message(url=url), KEY)
    assert outcome.status == 0
    assert outcome.error


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
async def test_broken_answer_is_an_error(connections, answer):
    outcome = await attempt_at(await raw_server(answer), connections)
    assert outcome.status == 0
    assert outcome.error


async def test_header_that_is_not_utf8_can_be_stored(connections, transactional_db):
    answer = b"HTTP/1.1 500 X\r\nX-Name: caf\xe9\r\nContent-Length: 0\r\n\r\n"
    outcome = await attempt_at(await raw_server(answer), connections)
    message = await Message.objects.acreate(
        url="http://target.test/", not_before=0, header=outcome.header
    )
    await message.arefresh_from_db()
    assert message.header["X-Name"] == ["caf�"]


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 204 X\r\n\r\nbody", b"HTTP/1.1 200 X\r\nContent-Length: 1\r\n\r\nbody"],
)
async def test_junk_behind_an_answer_does_not_spoil_it(connections, answer):
    assert (await attempt_at(await raw_server(answer), connections)).accepted


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


async def test_header_of_a_hopeless_answer_is_recognised(server, connections):
    server.answer = {"status": 489, "headers": {"Upstash-NonRetryable-Error": "true"}}
    assert (await server.get(connections)).hopeless


def test_idle_connections_are_given_up_before_common_servers_do():
    assert KEEPALIVE_SECONDS < 5
