"""What the queue asks for: `/api/long-task` and `/api/job-failed`, signature first.

The message has arrived. Its status code is the whole conversation with the queue: 2xx done,
503 come again, 489 never. These views wait without a thread or a database connection.
"""

import asyncio
import base64
import json
import logging
from datetime import timedelta
from math import ceil
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.utils import timezone

from groupcommit.statements import one_by_one
from groupcommit.writer import writer
from jobs.models import (
    FINISHED,
    UNKNOWN,
    AttemptEnd,
    Claim,
    ClaimRequest,
    Job,
    Refusal,
    claim_jobs,
    end_attempts,
    note_requests,
)
from jobs.queues import retry_delay_seconds
from jobs.signatures import Delivery, signed
from jobs.tasks import LeaseLost, TargetFailed, poster, send_requests, shared_session

logger = logging.getLogger(__name__)


@signed
async def long_task(request: HttpRequest, delivery: Delivery) -> JsonResponse:
    """Send ten delayed requests for the job named in the message."""
    payload = read_json(delivery.body)
    job_id = job_id_in(payload)
    if job_id is None:
        return never("the body must be a JSON object with a job_id")
    want = ClaimRequest(job_id, delivery.message_id, delivery.attempt, timezone.now())
    claim = await writer.write(claim_jobs, want)
    log = {"job": job_id, "message_id": delivery.message_id, "attempt": delivery.attempt}
    if isinstance(claim, Refusal):
        logger.info("nothing to do", extra=log | {"reason": claim.reason})
        return refusal(claim)
    logger.info("started", extra=log | {"sent": claim.sent})
    error = await work(claim, payload, delivery)
    if error:
        logger.warning("attempt failed", extra=log | {"error": error})
        return JsonResponse({"error": error}, status=503)
    logger.info("succeeded", extra=log)
    return JsonResponse({"success": True})


async def work(claim: Claim, payload: Any, delivery: Delivery) -> str:
    """Send what is left of the ten requests and end the attempt; what went wrong, if anything.

    However it ends, the job is left succeeded, waiting for the next attempt, or to whoever
    has taken it over.
    """
    try:
        async with shared_session() as session:
            await send_requests(claim, payload, poster(session), note)
    except TargetFailed as failure:
        end = to_be_continued(claim, str(failure), delivery.retried)
        await writer.write(end_attempts, end)
        return end.error
    except LeaseLost as lost:
        return str(lost)
    except asyncio.CancelledError:
        end = to_be_continued(claim, "the queue hung up", delivery.retried)
        writer.submit(end_attempts, end)
        raise
    succeeded = AttemptEnd(claim, Job.Status.SUCCEEDED, timezone.now())
    await writer.write(end_attempts, succeeded)
    return ""


@signed
async def job_failed(request: HttpRequest, delivery: Delivery) -> JsonResponse:
    """The queue has given up on a message: end its job.
    https://upstash.com/docs/qstash/features/callbacks
    """
    report = read_json(delivery.body)
    try:
        job_id = job_id_in(read_json(base64.b64decode(report["sourceBody"])))
        answer = f"HTTP {int(report['status'])}" if report["status"] else "no answer"
        attempts = int(report.get("retried", 0)) + 1
    except (ValueError, KeyError, TypeError, OverflowError):
        job_id = None
    if job_id is None:
        return never("the body must be a failure callback for a message with a job_id")
    error = f"The queue gave up after {attempts} attempts; the last one got {answer}."
    ended = await writer.write(fail_job, (job_id, error))
    logger.warning("job failed", extra={"job": job_id, "ended": ended})
    return JsonResponse({"success": True})


async def note(claim: Claim) -> bool:
    """Make a request's answer durable; there is time, as a pause follows each request."""
    return await writer.write(note_requests, (claim, timezone.now()), patience=0.05)


@one_by_one
def fail_job(failure: tuple[str, str]) -> bool:
    job_id, error = failure
    return Job.fail(job_id, error, timezone.now())


def to_be_continued(claim: Claim, error: str, retried: int) -> AttemptEnd:
    """Give the job back for the next attempt, and say when that will be."""
    delay = timedelta(seconds=retry_delay_seconds(retried))
    return AttemptEnd(claim, Job.Status.WAITING, timezone.now() + delay, error)


def refusal(claim: Refusal) -> JsonResponse:
    """Answer a message that must not start work."""
    if claim == UNKNOWN:
        return never(claim.reason)
    if claim == FINISHED:
        return JsonResponse({"success": True, "note": claim.reason})
    response = JsonResponse({"error": claim.reason}, status=503)
    left = (claim.held_until or timezone.now()) - timezone.now()
    response["Retry-After"] = str(max(1, ceil(left.total_seconds())))
    return response


def never(error: str) -> JsonResponse:
    """Tell the queue that no further attempt can help.
    https://upstash.com/docs/qstash/features/retry
    """
    response = JsonResponse({"error": error}, status=489)
    response["Upstash-NonRetryable-Error"] = "true"
    return response


def job_id_in(payload: Any) -> str | None:
    """The job_id in a message; None if there is none, or one that no database could hold."""
    job_id = payload.get("job_id") if isinstance(payload, dict) else None
    return job_id if isinstance(job_id, str) and job_id.isascii() and job_id.isalnum() else None


def read_json(body: bytes) -> Any:
    """The body's JSON value, or None if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
