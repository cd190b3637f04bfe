"""The work itself: a task is a function.

Its message has been verified and its job claimed by `receiving.py`, which calls the task and
tells the queue what came of it. Whatever the task notes is never repeated: an attempt that is
cut off is followed by one that begins at the first step not noted. Add your own task here, or
in a `tasks.py` of your own app.
"""

import asyncio
from typing import Any

import aiohttp
from django.tasks import task

from jobs.exceptions import TryAgain
from jobs.interface import JobContext
from jobs.reasons import in_words

REQUEST_TIMEOUT_SECONDS = 5


@task(takes_context=True, steps=10)
async def long_task(context: JobContext, target_url: str) -> None:
    """Send ten requests to a target, half a second apart."""
    async with http_session() as http:
        for number in context.steps_left():
            key = f"{context.job_id}-{number}"
            status = await post(http, target_url, {"hello": "world"}, key)
            await asyncio.gather(context.note(f"HTTP {status}"), asyncio.sleep(0.5))


async def post(http: aiohttp.ClientSession, url: str, payload: Any, key: str) -> int:
    """POST JSON and return the status, a 2xx; TryAgain for anything else.

    `key` becomes the Idempotency-Key header: a request whose answer was lost is sent again.
    Redirects are not followed.
    """
    try:
        headers = {"Idempotency-Key": key}
        async with http.post(url, json=payload, headers=headers, allow_redirects=False) as answer:
            if answer.ok and answer.status < 300:
                return answer.status
            raise TryAgain(f"HTTP {answer.status}")
    except TimeoutError as error:
        raise TryAgain(f"no answer within {REQUEST_TIMEOUT_SECONDS} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise TryAgain(in_words(error, url)) from error


def http_session() -> aiohttp.ClientSession:
    """A session that keeps its connection through the pauses, and no cookies."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
    return aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
