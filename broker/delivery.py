"""Make one attempt to deliver a message: sign it, POST it, read the response.

The dispatcher has claimed the message and will settle the `Outcome`. Nothing here touches the
database, so any number of attempts may wait at once. The destination is not trusted: whatever
it does, an attempt ends in time, and what is kept of its response is limited.
"""

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

from django.conf import settings
from multidict import CIMultiDict

from broker.headers import request_headers
from broker.models import Message
from broker.signing import sign

if TYPE_CHECKING:
    from broker.connections import Connections

USER_AGENT = "Upstash-QStash"


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


async def deliver(connections: "Connections", message: Message, key: str) -> Outcome:
    """Make one attempt to deliver a message; never raise for what the destination does."""
    from broker.exchange import FAILURES, reason  # here: aiohttp takes 0.12 s to import

    seconds = longest_seconds(message)
    body = bytes(message.body)
    try:
        async with asyncio.timeout(seconds):
            response = await connections.request(
                message.method,
                message.url,
                headers_for(message, key),
                body,
                settings.BROKER_RESPONSE_BYTES,
            )
        return Outcome.answered(*response)
    except TimeoutError:
        return no_answer_within(seconds)
    except FAILURES as error:
        return Outcome(0, {}, b"", reason(error))


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
