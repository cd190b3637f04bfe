"""The middleware runs on the event loop, and none of it holds a thread."""

import asyncio
import gzip
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.utils.module_loading import import_string

from broker.signing import sign
from jobs.interface import new_job
from jobs.models import Job
from jobs.tasks import long_task
from jobsite.asgi import application
from jobsite.middleware import LARGEST_COMPRESSED, AddressMiddleware, GZipMiddleware

WAITING = 40


async def ask(method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    """A request as a server hands it to the application; its status and body."""
    came: list[dict] = []
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict:
        return requests.pop() if requests else await asyncio.Future()

    async def send(message: dict) -> None:
        came.append(message)

    given = {"Host": "testserver", "Content-Type": "application/json"} | headers
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
    }
    await application(scope, receive, send)
    return came[0]["status"], b"".join(message.get("body", b"") for message in came)


@pytest.mark.parametrize("path", settings.MIDDLEWARE)
def test_middleware_is_async_capable(path):
    assert import_string(path).async_capable


async def test_no_hook_of_a_middleware_needs_a_thread():
    """A hook that needs a thread would wait for the only one, which is busy here."""
    done = threading.Event()
    busy = asyncio.ensure_future(sync_to_async(done.wait)(10))
    await asyncio.sleep(0)  # the thread's work is queued now, ahead of any hook
    try:
        async with asyncio.timeout(5):
            handler = ASGIHandler()
            request = AsyncRequestFactory().post("/api/long-task")
            response = await handler.get_response_async(request)
    finally:
        done.set()
        await busy
    assert response.status_code == 403


class SlowTarget:
    """A target on this event loop that answers no request until it is told to."""

    async def __aenter__(self) -> "SlowTarget":
        self.waiting, self.go = 0, asyncio.Event()
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *error: object) -> None:
        self.server.close()
        await self.server.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        self.waiting += 1
        await self.go.wait()
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def until_waiting(self, count: int) -> None:
        async with asyncio.timeout(20):
            while self.waiting < count:
                await asyncio.sleep(0.01)


def deliver(job: Job) -> "asyncio.Task[tuple[int, bytes]]":
    body = json.dumps({"job_id": job.id}).encode()
    url = "http://testserver/api/long-task"
    signature = sign(url, body, settings.QSTASH_CURRENT_SIGNING_KEY, int(time.time()))
    headers = {"Upstash-Signature": signature}
    return asyncio.ensure_future(ask("POST", "/api/long-task", body, **headers))


async def test_waiting_requests_hold_no_thread(transactional_db):
    async with SlowTarget() as target:
        jobs = [new_job(long_task, [target.url], {}) for _ in range(WAITING)]
        await Job.objects.abulk_create(jobs)
        before = threading.active_count()
        answers = [deliver(job) for job in jobs]
        await target.until_waiting(WAITING)
        assert threading.active_count() <= before + 2  # the writer's and Django's own
        assert (await asyncio.wait_for(ask("GET", "/healthz"), 5))[0] == 200
        target.go.set()
        assert {status for status, _ in await asyncio.gather(*answers)} == {503}


async def test_application_speaks_only_http():
    with pytest.raises(ValueError, match="does not support websocket"):
        await application({"type": "websocket"}, None, None)


@pytest.fixture
def static_file(tmp_path, settings):
    """A site with one collected file."""
    (tmp_path / "site.css").write_text("b { c: d }")
    settings.STATIC_ROOT = tmp_path
    return "/static/site.css"


def test_static_file_is_served(static_file):
    response = Client().get(static_file)
    assert (response.status_code, response.content) == (200, b"b { c: d }")
    assert response["Content-Type"] == 'text/css; charset="utf-8"'


async def test_static_file_is_served_on_the_loop_too(static_file):
    response = await AsyncClient().get(static_file)
    assert (response.status_code, response.content) == (200, b"b { c: d }")


def test_static_file_that_is_known_is_not_sent_again(static_file):
    known = Client().get(static_file)["Last-Modified"]
    response = Client().get(static_file, headers={"If-Modified-Since": known})
    assert (response.status_code, response.content) == (304, b"")


def test_visitors_session_is_one_cookie_that_scripts_cannot_read(client, db):
    client.get("/")
    cookie = client.cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


GZIP = {"Accept-Encoding": "gzip"}


def answered(path: str, response: Any, method: str = "GET", **headers: str) -> Any:
    """The response of a view as the compressing middleware lets it go."""
    middleware = GZipMiddleware(lambda request: response)
    request = RequestFactory().generic(method, path, headers=GZIP | headers)
    return middleware(request)


def test_page_is_compressed_for_a_browser_that_accepts_it(client, db):
    plain, packed = client.get("/"), client.get("/", headers=GZIP)
    assert "Content-Encoding" not in plain
    assert packed["Content-Encoding"] == "gzip"
    assert packed["Content-Length"] == str(len(packed.content))
    assert b"Start Background Job" in gzip.decompress(packed.content)
    assert "Accept-Encoding" in packed["Vary"] and "Accept-Encoding" in plain["Vary"]


async def test_page_is_compressed_on_the_loop_too(transactional_db):
    packed = await AsyncClient().get("/", headers=GZIP)
    assert b"Start Background Job" in gzip.decompress(packed.content)


def test_length_of_a_page_varies_so_that_it_betrays_nothing():
    lengths = {len(answered("/", HttpResponse("a page" * 100)).content) for _ in range(40)}
    assert len(lengths) > 5


@pytest.mark.parametrize("path", ["/api/long-task", "/v2/messages"])
def test_answers_to_programs_are_not_compressed(path):
    response = answered(path, HttpResponse("an answer" * 100))
    assert "Content-Encoding" not in response


def test_stream_is_passed_on_piece_by_piece_as_it_comes():
    def events() -> Iterator[bytes]:
        yield b"data: first\n\n" * 50
        pytest.fail("the second piece was asked for before the first was sent")

    stream = StreamingHttpResponse(events(), content_type="text/event-stream")
    response = answered("/jobs/changes", stream)
    assert "Content-Encoding" not in response
    assert next(iter(response.streaming_content)) == b"data: first\n\n" * 50


def test_huge_page_does_not_hold_up_the_event_loop():
    response = answered("/", HttpResponse(b"x" * (LARGEST_COMPRESSED + 1)))
    assert "Content-Encoding" not in response


def test_every_answer_guards_itself(client, db):
    response = client.get("/")
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("proxies", "given", "kept"),
    [
        (1, "7b6c-from_the.proxy", True),
        (0, "7b6c-from-anybody", False),
        (1, "", False),
        (1, "two words", False),
        (1, "x" * 129, False),
    ],
)
async def test_request_has_the_id_of_a_trusted_proxy_or_its_own(settings, proxies, given, kept):
    settings.PROXIES = proxies
    answer = await AsyncClient().get("/nowhere", headers={"X-Request-Id": given})
    assert (answer["X-Request-Id"] == given) is kept
    assert kept or re.fullmatch(r"[0-9a-f]{32}", answer["X-Request-Id"])


async def test_each_request_has_another_id():
    client = AsyncClient()
    assert len({(await client.get("/nowhere"))["X-Request-Id"] for _ in range(3)}) == 3


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "192.0.2.1", "127.0.0.1"),
        (1, "192.0.2.1", "192.0.2.1"),
        (1, "203.0.113.9, 192.0.2.1", "192.0.2.1"),  # the first one is the visitor's own idea
        (2, "203.0.113.9, 192.0.2.1, 10.0.0.1", "192.0.2.1"),
        (2, "192.0.2.1", "127.0.0.1"),  # came past one of the proxies
        (1, "192.0.2.1:5000", "192.0.2.1"),
        (1, "[2001:db8::1]:5000", "2001:db8::1"),
        (1, "2001:DB8:0::1", "2001:db8::1"),
        (1, "unknown", "127.0.0.1"),
        (1, "", "127.0.0.1"),
    ],
)
def test_address_is_the_one_that_our_first_proxy_was_asked_from(
    settings, proxies, forwarded, address
):
    settings.PROXIES = proxies
    request = RequestFactory().get("/", headers={"X-Forwarded-For": forwarded})
    AddressMiddleware(lambda request: HttpResponse()).process_request(request)
    assert request.META["REMOTE_ADDR"] == address
