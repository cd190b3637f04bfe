"""Publish a message: one small interface, two queues behind it.

The visitor has clicked. `send` saves the job and hands its message to a queue: our own
database (`broker`, in the job's own transaction) or hosted QStash (one HTTP call). From here
on the message is the queue's, until it POSTs it to jobs/api.py.
"""

import asyncio
import functools
import json
import time
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.cache import cache

import broker.errors
import broker.models
import broker.publishing
from groupcommit.statements import insert_all, one_by_one
from groupcommit.transactions import write_transaction
from groupcommit.writer import writer
from jobs.models import Job
from jobs.qstash import PublishError, QStash, Refused

RETRIES = 3
RETRY_DELAYS_MS = "1000 * pow(2, retried)"
TIMEOUT_SECONDS = 25
# The longest time to wait after an attempt, as the queue's own.
LONGEST_RETRY_DELAY_SECONDS = 24 * 3600.0
# The page asks every half second; QStash's log is asked less often.
LOG_SECONDS = 2


class Attempt(NamedTuple):
    """One delivery of a message, as the queue's log tells it.

    `status` is None and `seconds` too while it runs; `error` says what went wrong.
    """

    number: int
    at: datetime
    status: int | None = None
    error: str = ""
    seconds: float | None = None
    next_at: datetime | None = None


class Queue(Protocol):
    """What the tutorial needs of a queue."""

    name: str

    def send(self, job: Job, site: str) -> None:
        """Save a job and publish its message; a PublishError leaves it saved, not sent."""

    async def asend(self, job: Job, site: str) -> None:
        """The same, without holding a thread or a transaction while it waits."""

    async def attempts(self, message_id: str) -> list[Attempt]:
        """What the queue has done with a message so far; PublishError if it cannot say."""


def retry_delay_seconds(retried: int) -> float:
    """What RETRY_DELAYS_MS comes to: 1, 2, 4 seconds."""
    return min(2.0 ** min(retried, 20), LONGEST_RETRY_DELAY_SECONDS)


def message_headers(site: str) -> dict[str, str]:
    """The message's options, as QStash's headers.
    https://upstash.com/docs/qstash/api-reference/messages/publish-a-message
    """
    return {
        "Content-Type": "application/json",
        "Upstash-Retries": str(RETRIES),
        "Upstash-Retry-Delay": RETRY_DELAYS_MS,
        "Upstash-Timeout": f"{TIMEOUT_SECONDS}s",
        "Upstash-Failure-Callback": f"{site}/api/job-failed",
    }


def message_body(job: Job) -> bytes:
    return json.dumps({"hello": "world", "job_id": job.id}).encode()


def destination(site: str) -> str:
    return f"{site}/api/long-task"


class EmbeddedQueue:
    """Our own database: the message is a row, written in the job's transaction."""

    name = "embedded"

    def send(self, job: Job, site: str) -> None:
        message = self.read(job, site)
        with write_transaction():
            store_jobs([(job, message)])

    async def asend(self, job: Job, site: str) -> None:
        await writer.write(store_jobs, (job, self.read(job, site)))

    def read(self, job: Job, site: str) -> broker.models.Message:
        try:
            return broker.publishing.read_message(
                destination(site), message_headers(site), message_body(job)
            )
        except broker.errors.Rejected as error:
            raise Refused(f"The queue refused the message: {error}.") from error

    async def attempts(self, message_id: str) -> list[Attempt]:
        events = broker.models.Event.objects.filter(message__message_id=message_id)
        fields = ("state", "time", "error", "response_status", "next_delivery_time")
        return read_attempts([line async for line in events.order_by("id").values(*fields)])


def store_jobs(pairs: list[tuple[Job, broker.models.Message]]) -> list[None]:
    """Store jobs and their messages: all of them in this transaction, or none."""
    receipts = broker.publishing.store([message for _, message in pairs])
    for (job, _), receipt in zip(pairs, receipts, strict=True):
        if job._state.adding:
            job.message_id, job.status = receipt.message_id, Job.Status.QUEUED
        else:
            job.mark_sent(receipt.message_id)
    insert_all([job for job, _ in pairs if job._state.adding])
    return [None] * len(pairs)


class HostedQueue:
    """QStash: publishing is one HTTP call. https://upstash.com/docs/qstash"""

    name = "hosted QStash"

    def __init__(self, client: QStash) -> None:
        self.client = client

    def send(self, job: Job, site: str) -> None:
        async_to_sync(self.asend)(job, site)

    async def asend(self, job: Job, site: str) -> None:
        await writer.write(save, job)
        try:
            message_id = await asyncio.to_thread(self.publish, job, site)
        except PublishError as error:
            await writer.write(record_not_sent, (job, str(error)))
            raise
        await writer.write(record_sent, (job, message_id))

    def publish(self, job: Job, site: str) -> str:
        """Hand a job's message to QStash; its id, or a PublishError with the cause."""
        # Publishing again, after an answer that was lost, must not start the job twice.
        headers = message_headers(site) | {"Upstash-Deduplication-Id": f"job-{job.id}"}
        return self.client.publish(destination(site), headers, message_body(job))

    async def attempts(self, message_id: str) -> list[Attempt]:
        key = f"attempts:{message_id}"
        known: list[Attempt] | None = cache.get(key)
        if known is None:
            events = await asyncio.to_thread(self.client.events, message_id)
            try:
                known = read_attempts(events)
            except (OverflowError, OSError, ValueError) as error:
                raise Refused(
                    "QStash did not answer with a log: its times are impossible."
                ) from error
            cache.set(key, known, LOG_SECONDS)
        return known


@one_by_one
def save(job: Job) -> None:
    job.save()


@one_by_one
def record_sent(sent: tuple[Job, str]) -> None:
    job, message_id = sent
    job.mark_sent(message_id)


@one_by_one
def record_not_sent(failure: tuple[Job, str]) -> None:
    job, reason = failure
    job.mark_not_sent(reason)


def read_attempts(events: Any) -> list[Attempt]:
    """The attempts in a message's log, its lines oldest first."""
    attempts: list[Attempt] = []
    for event in events:
        at = datetime.fromtimestamp(event["time"] / 1000, UTC)
        if event["state"] == "ACTIVE":
            attempts.append(Attempt(len(attempts) + 1, at))
        elif attempts and event["state"] in {"ERROR", "DELIVERED"}:
            attempts[-1] = attempts[-1]._replace(
                status=event["response_status"],
                error=event["error"],
                seconds=(at - attempts[-1].at).total_seconds(),
            )
        elif attempts and event["state"] == "RETRY" and event["next_delivery_time"]:
            next_at = datetime.fromtimestamp(event["next_delivery_time"] / 1000, UTC)
            attempts[-1] = attempts[-1]._replace(next_at=next_at)
    return attempts


@functools.cache
def hosted(url: str, token: str) -> HostedQueue:
    """One HTTP session for as long as the settings stay the same."""
    return HostedQueue(QStash(url, token))


def get_queue() -> Queue:
    """The queue that the settings choose."""
    if settings.QUEUE_BACKEND == "hosted":
        return hosted(settings.QSTASH_URL, settings.QSTASH_TOKEN)
    return EmbeddedQueue()


def queue_is_stuck() -> bool:
    """Whether messages are due in our own queue and nothing claims them."""
    now = int(time.time() * 1000)
    return settings.QUEUE_BACKEND == "embedded" and broker.models.queue_is_stuck(now)
