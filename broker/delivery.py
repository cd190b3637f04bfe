"""Make one attempt to deliver a message: sign it, POST it, read the response.

The dispatcher has claimed the message and will settle the `Outcome`. Nothing here touches the
database, so any number of attempts may wait at once. The destination is not trusted: whatever
it does, an attempt ends in time, and what is kept of its response is limited.
"""

import asyncio
import io
import time
from typing import TYPE_CHECKING, NamedTuple

from django.conf import settings
from multidict import CIMultiDict

from broker.headers import request_headers, response_header
from broker.models import Message
from broker.signing import sign

if TYPE_CHECKING:
    import aiohttp

USER_AGENT = "Upstash-QStash"
# aiohttp warns of larger bodies that are not a file.
LARGEST_IN_ONE_PIECE = 2**20


class Outcome(NamedTuple):
    """The result of an attempt; if there was no response, `status` is 0 and `error` says why."""

    status: int
    header: dict[str, list[str]]
    body: bytes
    error: str

    @classmethod
    def answered(cls, status: int, header: dict[str, list[str]], body: bytes) -> "Outcome":
        """There was a response."""
        return cls(status, header, body, "" if 200 <= status <= 299 else f"HTTP {status}")

    @property
    def accepted(self) -> bool:
        return 200 <= self.status <= 299

    @property
    def hopeless(self) -> bool:
        """Whether the destination asks for no more attempts: 489 with the header for it."""
        asked = self.header.get("Upstash-Nonretryable-Error", [""])[0]
        return self.status == 489 and asked.lower() == "true"


async def deliver(session: "aiohttp.ClientSession", message: Message, key: str) -> Outcome:
    """Make one attempt to deliver a message; never raise for what the destination does."""
    from broker import connections  # here: aiohttp takes 0.12 s, and a site that starts can wait

    seconds = longest_seconds(message)
    body = bytes(message.body)
    try:
        url, authorization = connections.requested(message.url)
        headers = headers_for(message, key)
        if authorization:
            headers.setdefault("Authorization", authorization)
        async with (
            asyncio.timeout(seconds),
            session.request(
                message.method,
                url,
                data=body if len(body) <= LARGEST_IN_ONE_PIECE else io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
            ) as response,
        ):
            return Outcome.answered(
                response.status,
                response_header(response.headers.items()),
                await connections.read_up_to(response, settings.BROKER_RESPONSE_BYTES),
            )
    except TimeoutError:
        return no_answer_within(seconds)
    except connections.FAILURES as error:
        return Outcome(0, {}, b"", connections.reason(error))


def longest_seconds(message: Message) -> float:
    """Return how long an attempt may take, in seconds."""
    longest: float = settings.BROKER_TIMEOUT_SECONDS
    return min(message.timeout_seconds or longest, longest)


def no_answer_within(seconds: float) -> Outcome:
    return Outcome(0, {}, b"", f"no answer within {seconds} s")


def headers_for(message: Message, key: str) -> CIMultiDict[str]:
    """Return the publisher's headers and ours, which cannot be overridden."""
    headers = request_headers(message.header)
    headers["User-Agent"] = USER_AGENT
    headers["Upstash-Message-Id"] = message.message_id
    headers["Upstash-Region"] = settings.BROKER_REGION
    headers["Upstash-Retried"] = str(message.retried)
    headers["Upstash-Signature"] = sign(message.url, bytes(message.body), key, int(time.time()))
    if message.caller_ip:
        headers["Upstash-Caller-Ip"] = message.caller_ip
    if message.schedule_id:
        headers["Upstash-Schedule-Id"] = message.schedule_id
    if message.url_group:
        headers["Upstash-Topic-Name"] = message.url_group
    return headers
