"""The work itself: a task is a function.

Its message has been verified and its job claimed by `receiving.py`, which calls the task and
tells the queue what came of it. Whatever the task notes is never repeated: an attempt that is
cut off is followed by one that begins at the first step not noted. Add your own task here, or
in a `tasks.py` of your own app.
"""

import asyncio
import time
from typing import TYPE_CHECKING, Any

from django.tasks import task
from django.utils.http import parse_http_date_safe

from jobs.exceptions import TryAgain
from jobs.interface import JobContext
from jobs.reasons import in_words

if TYPE_CHECKING:
    import aiohttp

REQUEST_TIMEOUT_SECONDS = 5
BUSY = {429, 503}
LONGEST_PAUSE_SECONDS = 24 * 3600.0


@task(takes_context=True, steps=10)
async def long_task(context: JobContext, target_url: str) -> None:
    """Send ten requests to a target, half a second apart."""
    async with http_session() as http:
        for number in context.steps_left():
            key = f"{context.job_id}-{number}"
            status = await post(http, target_url, {"hello": "world"}, key)
            await asyncio.gather(context.note(f"HTTP {status}"), asyncio.sleep(0.5))


async def post(http: "aiohttp.ClientSession", url: str, payload: Any, key: str) -> int:
    """POST JSON and return the status, a 2xx; TryAgain for anything else.

    `key` becomes the Idempotency-Key header: a request whose answer was lost is sent again.
    Redirects are not followed. A busy target says itself when to try again.
    """
    import aiohttp  # here and below: it takes 0.12 s, and a site that starts does without

    try:
        headers = {"Idempotency-Key": key}
        async with http.post(url, json=payload, headers=headers, allow_redirects=False) as answer:
            if answer.ok and answer.status < 300:
                return answer.status
            raise TryAgain(f"HTTP {answer.status}", after=retry_after(answer))
    except TimeoutError as error:
        raise TryAgain(f"no answer within {http.timeout.total:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TryAgain(in_words(error, url)) from error


def retry_after(answer: "aiohttp.ClientResponse") -> float | None:
    """In how many seconds a busy target (429 or 503) wants to be asked again, a day at most."""
    asked = answer.headers.get("Retry-After", "").strip()
    if answer.status not in BUSY or not asked:
        return None
    if asked.isascii() and asked.isdigit():
        return min(float(asked[:9]), LONGEST_PAUSE_SECONDS)
    at = parse_http_date_safe(asked)
    return None if at is None else min(max(at - time.time(), 0.0), LONGEST_PAUSE_SECONDS)


def http_session(timeout_seconds: float = REQUEST_TIMEOUT_SECONDS) -> "aiohttp.ClientSession":
    """A session that keeps its connection through the pauses, and no cookies."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=timeout_seconds)
    return aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
