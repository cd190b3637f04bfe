"""The work itself: ten requests, each followed by a pause, and the way a request can fail."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from jobs.exceptions import TryAgain
from jobs.tasks import http_session, post

PAYLOAD = {"hello": "world"}


async def test_ten_requests_go_out_in_order_half_a_second_apart(deliver, job_at, sink):
    job = await job_at(steps_done=0)
    await deliver("/api/long-task", {"job_id": job.id})
    moments = [request["at"] for request in sink.requests]
    assert sink.keys == [f"{job.id}-{number}" for number in range(1, 11)]
    assert all(later - earlier >= 0.5 for earlier, later in zip(moments, moments[1:], strict=False))


async def test_last_request_is_followed_by_a_pause_too(deliver, job_at, sink):
    job = await job_at(steps_done=9)
    await deliver("/api/long-task", {"job_id": job.id})
    await job.arefresh_from_db()
    assert job.finished_at.timestamp() - job.log[-1]["at"] >= 0.49


async def test_each_answer_is_noted(deliver, job_at, sink):
    job = await job_at(steps_done=8)
    sink.answer = lambda request: 204
    await deliver("/api/long-task", {"job_id": job.id})
    await job.arefresh_from_db()
    assert [(step["number"], step["text"]) for step in job.log] == [
        (9, "HTTP 204"),
        (10, "HTTP 204"),
    ]


async def test_request_is_json_under_its_idempotency_key(sink):
    async with http_session() as http:
        status = await post(http, sink.url, PAYLOAD, "j-1")
    (request,) = sink.requests
    assert (status, json.loads(request["body"]), sink.keys) == (200, PAYLOAD, ["j-1"])
    assert request["headers"]["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [301, 307, 404, 500, 503])
async def test_answer_that_is_no_success_means_another_try(sink, status):
    sink.answer = lambda request: status
    async with http_session() as http:
        with pytest.raises(TryAgain, match=f"^HTTP {status}$"):
            await post(http, sink.url, PAYLOAD, "j-1")
    assert len(sink.requests) == 1


@pytest.mark.parametrize("url", ["nowhere", "http://", "ftp://target.test/", "http://[/"])
async def test_target_that_is_no_url_means_another_try(url):
    async with http_session() as http:
        with pytest.raises(TryAgain, match="."):
            await post(http, url, PAYLOAD, "j-1")


async def test_silent_target_is_given_up():
    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    timeout = aiohttp.ClientTimeout(total=0.05)
    async with server, aiohttp.ClientSession(timeout=timeout) as http:
        with pytest.raises(TryAgain, match="no answer within 0.05 s"):
            await post(http, url, PAYLOAD, "j-1")


async def pause_asked_by(status: int, retry_after: str) -> timedelta | None:
    """What a target's answer makes of the next attempt's delay."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Retry-After": retry_after})

    server = TestServer(web.Application())
    server.app.router.add_post("/", answer)
    async with server, http_session() as http:
        with pytest.raises(TryAgain, match=f"^HTTP {status}$") as raised:
            await post(http, str(server.make_url("/")), PAYLOAD, "j-1")
    return raised.value.after


@pytest.mark.parametrize("status", [429, 503])
async def test_busy_target_says_when_to_try_again(status):
    assert await pause_asked_by(status, "7") == timedelta(seconds=7)


async def test_busy_target_may_name_a_moment():
    asked = await pause_asked_by(429, format_datetime(datetime.now(UTC) + timedelta(hours=1), True))
    assert timedelta(minutes=59) < asked <= timedelta(hours=1)


async def test_busy_target_cannot_ask_for_more_than_a_day():
    assert await pause_asked_by(503, "9" * 30) == timedelta(days=1)


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "1.5", "\u0663", "Thu, 99 Foo 2026 00:00:00 GMT"]
)
async def test_pause_that_cannot_be_read_is_left_to_the_queue(text):
    assert await pause_asked_by(429, text) is None


async def test_pause_of_a_target_that_is_not_busy_is_ignored():
    assert await pause_asked_by(500, "7") is None
