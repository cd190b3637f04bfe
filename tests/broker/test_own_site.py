"""A message to this very site: one handler is asked in the process and over a socket.

What holds for one way of delivery must hold for the other.
"""

import asyncio
import io
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from urllib.parse import unquote

import pytest
from aiohttp import test_utils, web
from django.core.handlers.asgi import ASGIRequest
from django.core.signals import request_finished, request_started
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from broker.connections import Connections
from broker.delivery import Outcome, deliver
from broker.headers import header_text
from broker.models import Message
from broker.own_site import OwnSite
from jobs.signatures import verify
from tests.broker.messages import new_message

# Django looks at the thread's database connection at the end of a request.
pytestmark = pytest.mark.django_db
KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"


class Handler:
    """In place of Django's: keeps what it is asked, and answers as a test says."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []
        self.response = HttpResponse(b"ok", content_type="text/plain")
        self.may_answer, self.cancelled = asyncio.Event(), asyncio.Event()
        self.may_answer.set()

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        self.requests.append(request)
        assert request.body is not None  # read now, as views do
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return self.response


def over_http(handler: Handler) -> Callable[[web.BaseRequest], Awaitable[web.Response]]:
    """What passes the requests that a server gets to the handler."""

    async def handle(given: web.BaseRequest) -> web.Response:
        path, _, query = given.raw_path.partition("?")
        scope = {
            "type": "http",
            "method": given.method,
            "path": unquote(path),
            "query_string": query.encode(),
            "headers": [(name.lower(), value) for name, value in given.raw_headers],
        }
        request = ASGIRequest(scope, io.BytesIO(await given.read()))
        response = await handler.get_response_async(request)
        answer = web.Response(status=response.status_code, body=response.content)
        for name, value in response.items():
            answer.headers[name] = value.encode("latin-1").decode(errors="surrogateescape")
        return answer

    return handle


class Site:
    """The handler under a URL, and one of the two ways to deliver to it."""

    def __init__(self, handler: Handler, url: str, in_process: bool) -> None:
        self.handler, self.url = handler, url
        self.own_site = OwnSite(handler, url) if in_process else None

    def message(self, path: str = "/api/long-task", **fields: object) -> Message:
        return new_message(url=self.url + path, **fields)

    async def get(self, path: str = "/api/long-task", **fields: object) -> Outcome:
        message = self.message(path, **fields)
        if self.own_site:
            assert self.own_site.has(message)
            return await self.own_site.deliver(message, KEY)
        async with aclosing(Connections()) as connections:
            return await deliver(connections, message, KEY)


@pytest.fixture(params=["in process", "over a socket"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    handler = Handler()
    server = test_utils.RawTestServer(over_http(handler), handler_cancellation=True)
    async with server:
        url = str(server.make_url("")).rstrip("/")
        yield Site(handler, url, request.param == "in process")


async def test_request_is_the_same(site):
    fields = {"schedule_id": "scd_1", "caller_ip": "1.2.3.4", "header": {"X-A": ["1", "2"]}}
    body = bytes(range(256))
    await site.get("/api/a%2Fb/%C3%A9?x=%2F&y=a+b", method="PUT", retried=2, body=body, **fields)
    (request,) = site.handler.requests
    assert (request.method, request.body) == ("PUT", body)
    assert (request.path, request.META["QUERY_STRING"]) == ("/api/a/b/é", "x=%2F&y=a+b")
    assert request.GET.dict() == {"x": "/", "y": "a b"}
    headers = {name.title(): value for name, value in request.headers.items()}
    assert headers.keys() == {
        "Host", "Content-Length", "User-Agent", "X-A", "Upstash-Caller-Ip", "Upstash-Message-Id",
        "Upstash-Region", "Upstash-Retried", "Upstash-Schedule-Id", "Upstash-Signature",
    }  # fmt: skip
    assert headers["Host"] == site.url.removeprefix("http://")
    assert (headers["X-A"], headers["Content-Length"]) == ("1,2", "256")
    assert (headers["Upstash-Retried"], headers["Upstash-Caller-Ip"]) == ("2", "1.2.3.4")


async def test_what_a_view_writes_is_flushed_with_its_attempt_on_sqlite_only(site):
    await site.get("/api/a")
    (request,) = site.handler.requests
    may_wait = site.own_site and connection.vendor == "sqlite"
    assert getattr(request, "flush_now", True) is not bool(may_wait)


async def test_every_attempt_is_signed_anew_for_its_url_and_body(site):
    for _ in range(2):
        await site.get("/api/x?y=1", body=b"body")
    one, two = (request.headers["Upstash-Signature"] for request in site.handler.requests)
    assert one != two
    claims = verify(one, b"body", f"{site.url}/api/x?y=1", [KEY])
    assert abs(claims["iat"] - time.time()) < 60


async def test_bytes_of_a_header_leave_as_they_came(site):
    await site.get(header={"X-Name": [header_text("caf\xe9")]})
    assert site.handler.requests[0].headers["X-Name"] == "caf\xe9"


@pytest.mark.parametrize("status", [200, 204, 404, 489, 503])
async def test_answer_becomes_an_outcome(site, status):
    header = {"Retry-After": "3", "x-request-ID": "café".encode().decode("latin-1")}
    body = b"" if status == 204 else b"answer"
    site.handler.response = HttpResponse(body, status=status, headers=header)
    outcome = await site.get()
    assert (outcome.status, outcome.body) == (status, body)
    assert outcome.error == ("" if status < 300 else f"HTTP {status}")
    given = {name: outcome.header[name] for name in ("Retry-After", "X-Request-Id")}
    assert given == {"Retry-After": ["3"], "X-Request-Id": ["café"]}


async def test_long_answer_is_cut(site, settings):
    settings.BROKER_RESPONSE_BYTES = 1000
    site.handler.response = HttpResponse(b"x" * 7000)
    assert (await site.get())[::2] == (200, b"x" * 1000)


async def test_view_is_cancelled_when_it_takes_too_long(site):
    site.handler.may_answer.clear()
    for seconds in (0.05, 0.5, 5):  # on a busy machine, the request may not even arrive in time
        outcome = await site.get(timeout_seconds=seconds)
        assert outcome == Outcome(0, {}, b"", f"no answer within {seconds} s")
        if site.handler.requests:
            break
    async with asyncio.timeout(5):
        await site.handler.cancelled.wait()


async def test_no_attempt_takes_longer_than_the_setting(site, settings):
    settings.BROKER_TIMEOUT_SECONDS = 0.05
    site.handler.may_answer.clear()
    assert (await site.get(timeout_seconds=60)).error == "no answer within 0.05 s"


async def test_view_is_cancelled_with_its_delivery(site):
    site.handler.may_answer.clear()
    delivery = asyncio.create_task(site.get())
    async with asyncio.timeout(5):
        while not site.handler.requests:
            await asyncio.sleep(0.01)
        delivery.cancel()
        await site.handler.cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await delivery


def own_site(handler: Handler) -> OwnSite:
    return OwnSite(handler, "https://jobs.test")


async def get(handler: Handler, url: str = "https://jobs.test/api/x") -> Outcome:
    return await own_site(handler).deliver(new_message(url=url), KEY)


async def test_request_is_as_safe_as_the_sites_address(settings):
    settings.ALLOWED_HOSTS = ["jobs.test"]
    handler = Handler()
    await get(handler)
    assert handler.requests[0].is_secure()
    assert handler.requests[0].build_absolute_uri() == "https://jobs.test/api/x"


async def test_endless_answer_ends_when_enough_has_come(settings):
    settings.BROKER_RESPONSE_BYTES = 10
    stopped = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 6
        finally:
            stopped.set()

    handler = Handler()
    parts = endless()
    handler.response = StreamingHttpResponse(parts)
    outcome = await get(handler)
    assert (outcome.status, outcome.body) == (200, b"x" * 10)
    await parts.aclose()
    assert stopped.is_set()


async def test_cookies_are_in_the_log():
    handler = Handler()
    handler.response.set_cookie("a", "b")
    assert (await get(handler)).header["Set-Cookie"] == ["a=b; Path=/"]


async def test_error_of_the_handler_is_raised():
    class Broken(Handler):
        async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await get(Broken())


async def test_django_is_told_of_the_request():
    told = []

    def tell(**given: object) -> None:
        told.append(given["signal"])

    for signal in (request_started, request_finished):
        signal.connect(tell)
    try:
        await get(Handler())
    finally:
        for signal in (request_started, request_finished):
            signal.disconnect(tell)
    assert told == [request_started, request_finished]


async def test_connections_of_the_thread_are_looked_after_once_for_many(monkeypatch):
    monkeypatch.setattr("broker.own_site.CLOSE_SECONDS", 0.05)
    site, closed = own_site(Handler()), threading.Event()
    looks = []

    def look() -> None:
        looks.append(threading.current_thread())
        closed.set()

    monkeypatch.setattr("broker.own_site.close_old_connections", look)
    for _ in range(10):
        await site.deliver(new_message(url="https://jobs.test/api/x"), KEY)
    await asyncio.to_thread(closed.wait, 5)
    assert len(looks) == 1
    assert looks[0] is not threading.main_thread()
    await site.closing


@pytest.mark.parametrize(
    ("url", "account", "own"),
    [
        ("https://jobs.test/api/long-task", "site", True),
        ("https://jobs.test/api/long-task?x=1", "site", True),
        ("https://jobs.test/api/long-task", "other", False),
        ("https://jobs.test/queue/", "site", False),
        ("https://jobs.test/bin/1", "site", False),
        ("https://jobs.test.evil.test/api/x", "site", False),
        ("https://jobs.test:444/api/x", "site", False),
        ("http://jobs.test/api/x", "site", False),
        ("https://me@jobs.test/api/x", "site", False),
    ],
)
def test_only_the_sites_own_messages_to_its_api_are_its_own(url, account, own):
    assert own_site(Handler()).has(new_message(url=url, account=account)) == own
