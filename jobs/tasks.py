"""The work itself: ten delayed requests.

The message has been verified and its job claimed. Each request is noted on the job before
the next one goes out, so that whoever takes over knows where to go on.
"""

import asyncio
import json
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from jobs.models import TOTAL, Claim

PAUSE_SECONDS = 0.5
REQUEST_TIMEOUT_SECONDS = 5
KEEPALIVE_SECONDS = 1.0

type Post = Callable[[str, Any, str], Awaitable[int]]


class TargetFailed(Exception):
    """The target did not accept a request; the text says which and how."""


class LeaseLost(Exception):
    """Another attempt works on the job now, or it has ended."""


async def send_requests(
    claim: Claim,
    payload: Any,
    post: Post,
    note: Callable[[Claim], Awaitable[bool]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Send what is left of the ten requests, each followed by a pause of 500 ms.

    `post(url, payload, idempotency_key)` answers with the HTTP status. An answer is noted
    while the pause runs, and always before the next request. TargetFailed if the target
    does not accept one, LeaseLost if the job is no longer ours.
    """
    while claim.sent < TOTAL:
        claim = await send_request(claim, payload, post)
        pause = asyncio.ensure_future(sleep(PAUSE_SECONDS))
        try:
            if not await note(claim):
                raise LeaseLost("the lease on the job has gone to another attempt")
            await pause
        finally:
            pause.cancel()


async def send_request(claim: Claim, payload: Any, post: Post) -> Claim:
    """Send the next request; the claim with its answer added."""
    number = claim.sent + 1
    at, started = time.time(), time.perf_counter()
    record: dict[str, Any] = {"number": number, "at": round(at, 3)}
    claim.requests.append(record)
    try:
        record["status"] = await post(claim.target_url, payload, f"{claim.job_id}-{number}")
    except TimeoutError as error:
        record["error"] = f"no answer within {REQUEST_TIMEOUT_SECONDS} s"
        raise TargetFailed(f"request {number}: {record['error']}") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        record["error"] = str(error) or type(error).__name__
        raise TargetFailed(f"request {number}: {record['error']}") from error
    finally:
        record["milliseconds"] = round(1000 * (time.perf_counter() - started))
    if not 200 <= record["status"] <= 299:
        raise TargetFailed(f"request {number}: HTTP {record['status']}")
    return claim._replace(sent=number)


_sessions: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[Any]] = (
    weakref.WeakKeyDictionary()
)


@asynccontextmanager
async def shared_session() -> AsyncIterator[aiohttp.ClientSession]:
    """The event loop's one session: the first task opens it, the last one closes it."""
    loop = asyncio.get_running_loop()
    entry = _sessions.setdefault(loop, [None, 0])
    if entry[1] == 0:
        entry[0] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS),
        )
    entry[1] += 1
    try:
        yield entry[0]
    finally:
        entry[1] -= 1
        if entry[1] == 0:
            await entry[0].close()


def poster(session: aiohttp.ClientSession) -> Post:
    """POST JSON over a session. Redirects are answers like any other: not 2xx."""

    async def post(url: str, payload: Any, idempotency_key: str) -> int:
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        body = json.dumps(payload).encode()
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            return response.status

    return post
