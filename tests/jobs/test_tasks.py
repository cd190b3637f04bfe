"""Ten delayed requests, without the delays: transport, notes and sleep are passed in."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from jobs.models import Claim
from jobs.tasks import (
    PAUSE_SECONDS,
    LeaseLost,
    TargetFailed,
    poster,
    send_requests,
    shared_session,
)

PAYLOAD = {"hello": "world", "job_id": "j"}


class Outside:
    """A target, a clock and a note-taker that keep what happened, in order."""

    def __init__(self, post: Callable[[int], Awaitable[int]] | None = None) -> None:
        self.happened: list[str] = []
        self.answer = post
        self.leases = True

    async def post(self, url: str, payload: object, idempotency_key: str) -> int:
        number = int(idempotency_key.rpartition("-")[2])
        self.happened.append(f"post {number}")
        return await self.answer(number) if self.answer else 200

    async def note(self, claim: Claim) -> bool:
        self.happened.append(f"note {claim.sent}")
        return self.leases

    async def sleep(self, seconds: float) -> None:
        self.happened.append(f"sleep {seconds}")

    async def send(self, sent: int = 0) -> Claim:
        claim = Claim("j", "token", sent, [], "http://target.test/")
        try:
            await send_requests(claim, PAYLOAD, self.post, self.note, self.sleep)
        finally:
            self.requests = claim.requests
        return claim

    def only(self, word: str) -> list[str]:
        return [event for event in self.happened if event.startswith(word)]


def failing(error: Exception) -> Callable[[int], Awaitable[int]]:
    async def answer(number: int) -> int:
        raise error

    return answer


async def test_ten_requests_go_out_in_order():
    outside = Outside()
    claim = await outside.send()
    assert outside.only("post") == [f"post {number}" for number in range(1, 11)]
    assert [record["status"] for record in claim.requests] == [200] * 10


async def test_each_request_is_followed_by_half_a_second():
    outside = Outside()
    await outside.send()
    assert PAUSE_SECONDS == 0.5
    assert outside.only("sleep") == ["sleep 0.5"] * 10


async def test_each_answer_is_noted_before_the_next_request():
    outside = Outside()
    await outside.send(sent=7)
    assert [event for event in outside.happened if "sleep" not in event] == [
        "post 8", "note 8", "post 9", "note 9", "post 10", "note 10",
    ]  # fmt: skip


async def test_half_done_job_goes_on_from_the_last_request_noted():
    outside = Outside()
    await outside.send(sent=9)
    assert outside.only("post") == ["post 10"]


async def test_done_job_sends_nothing():
    outside = Outside()
    await outside.send(sent=10)
    assert outside.happened == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "request 5: no answer within 5 s"),
        (ConnectionRefusedError("refused"), "request 5: refused"),
        (aiohttp.ServerDisconnectedError(), "request 5: Server disconnected"),
        (aiohttp.InvalidURL("x"), "request 5: x"),
        (OSError(), "request 5: OSError"),
    ],
)
async def test_target_that_cannot_answer_fails_the_attempt(error, words):
    outside = Outside(failing(error))
    with pytest.raises(TargetFailed, match=f"^{words}"):
        await outside.send(sent=4)
    (record,) = outside.requests
    assert record["error"] in words


@pytest.mark.parametrize("status", [301, 404, 500, 503])
async def test_answer_that_is_no_success_fails_the_attempt(status):
    async def answer(number: int) -> int:
        return status if number == 3 else 204

    outside = Outside(answer)
    with pytest.raises(TargetFailed, match=f"^request 3: HTTP {status}$"):
        await outside.send()
    assert outside.only("note") == ["note 1", "note 2"]


async def test_lost_lease_stops_the_work():
    outside = Outside()
    outside.leases = False
    with pytest.raises(LeaseLost):
        await outside.send()
    assert outside.only("post") == ["post 1"]


async def test_request_is_json_under_its_idempotency_key(sink):
    async with shared_session() as session:
        status = await poster(session)(sink.url, PAYLOAD, "j-1")
    (request,) = sink.requests
    assert status == 200
    assert request["headers"]["Content-Type"] == "application/json"
    assert (request["body"], sink.keys) == (b'{"hello": "world", "job_id": "j"}', ["j-1"])


async def test_redirect_is_an_answer_and_not_followed(sink):
    sink.answer = lambda request: 307
    async with shared_session() as session:
        assert await poster(session)(sink.url, PAYLOAD, "j-1") == 307
    assert len(sink.requests) == 1


async def test_silent_target_is_given_up():
    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    timeout = aiohttp.ClientTimeout(total=0.05)
    async with server, aiohttp.ClientSession(timeout=timeout) as session:
        with pytest.raises(TimeoutError):
            await poster(session)(url, PAYLOAD, "j-1")


async def test_tasks_of_a_loop_share_one_session_until_the_last_has_ended():
    async with shared_session() as first:
        async with shared_session() as second:
            assert first is second
        assert not first.closed
    assert first.closed


async def test_session_is_opened_anew_for_the_next_task():
    async with shared_session() as first:
        pass
    async with shared_session() as second:
        assert not second.closed
    assert first is not second
