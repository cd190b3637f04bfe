"""What surrounds every task: signature, claim, run, status code.

The message has arrived at its task's endpoint, `/api/long-task` or another. The status code
tells the queue how to go on: 2xx is done, 503 means come again, 489 never. Nothing here holds
a thread or a database connection while a task waits.
"""

import asyncio
import base64
import json
import logging
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from datetime import timedelta
from inspect import iscoroutinefunction, signature
from math import ceil
from traceback import format_exception, format_exception_only
from typing import Any

from django.db import connections
from django.http import HttpRequest, JsonResponse
from django.tasks.exceptions import TaskException
from django.tasks.signals import task_finished, task_started
from django.utils import timezone
from django.utils.json import normalize_json

from groupcommit.outages import in_words, reported, survived, wait_patiently
from groupcommit.writer import writer
from jobs.exceptions import CutOff, GiveUp, LeaseLost, TryAgain
from jobs.interface import (
    JobContext,
    JobResult,
    JobTask,
    SyncJobContext,
    announce,
    endpoints,
    new_job,
    save,
)
from jobs.models import (
    LEASE,
    Arrival,
    Failure,
    Job,
    Refusal,
    Transition,
    claim_jobs,
    fail_jobs,
    save_transitions,
    store_jobs,
)
from jobs.owners import owner_in
from jobs.retries import retry_delay
from jobs.signatures import Delivery, signed
from logfields import belongs_to

logger = logging.getLogger(__name__)

WORKER = f"{socket.gethostname()[:32]}-{os.getpid()}"
MOST_ERRORS = 20
LONGEST_TRACEBACK = 10_000
# Synchronous tasks have threads of their own: they must not block the event loop, nor the one
# thread that all of Django's synchronous code shares.
threads = ThreadPoolExecutor(thread_name_prefix="task", initializer=wait_patiently)


@signed
async def receive(request: HttpRequest, delivery: Delivery, endpoint: str) -> JsonResponse:
    """Run the task with this endpoint for the job that the message names."""
    if not (task := endpoints.get(endpoint)):
        return never(f"there is no task at {request.path}")
    return await work_on(task, delivery)


async def work_on(task: JobTask, delivery: Delivery) -> JsonResponse:
    """Make one attempt, unless the job of the verified message must not run."""
    try:
        payload = read_payload(delivery.body)
        job_id = payload.get("job_id") or await store_job(task, payload, delivery)
    except ValueError as error:
        return never(str(error))
    message_id, attempt = delivery.message_id, delivery.retried + 1
    seen, now = delivery.received, timezone.now()
    arrival = Arrival(job_id, message_id, attempt, task.module_path, WORKER, now, seen)
    job = await writer.write(claim_jobs, arrival, flush=False)
    log = belongs_to(job=job_id, message_id=message_id, attempt=attempt)
    if isinstance(job, Refusal):
        logger.info("nothing to do", extra=log | {"reason": job.reason})
        return refused(job)
    logger.info("started", extra=log | {"task": task.name, "steps_done": job.steps_done})
    return await run(task, job, delivery, log)


async def run(task: JobTask, job: Job, delivery: Delivery, log: dict[str, Any]) -> JsonResponse:
    """Make one attempt at a claimed job. However it ends, the job's row says how it goes on."""
    lease = asyncio.create_task(keep_lease(job))
    try:
        result = JobResult.of(job, task.as_enqueued(job))
        await announce(task_started, result)
        value = await call(task, result)
        await save(job.succeed(normalize_json(value), timezone.now()), flush=delivery.flush)
    except asyncio.CancelledError:
        cut_off(job, delivery.retried, log)
        raise
    except (Exception, SystemExit) as error:  # whatever a task raises
        return await attempt_failed(task, job, error, delivery.retried, log)
    finally:
        lease.cancel()
    logger.info("succeeded", extra=log)
    await announce(task_finished, JobResult.of(job, result.task))
    return JsonResponse({"success": True})


async def call(task: JobTask, result: JobResult) -> Any:
    """Call the task's function: on the event loop, or in a thread if it is synchronous."""
    if not iscoroutinefunction(task.func):
        return await call_in_thread(task, result)
    context = [JobContext(task_result=result)] if task.takes_context else []
    return await task.func(*context, *result.args, **result.kwargs)


async def call_in_thread(task: JobTask, result: JobResult) -> Any:
    context = [SyncJobContext(task_result=result)] if task.takes_context else []

    def in_thread() -> Any:
        try:
            return task.func(*context, *result.args, **result.kwargs)
        finally:
            connections.close_all()

    return await asyncio.get_running_loop().run_in_executor(threads, copy_context().run, in_thread)


async def keep_lease(job: Job) -> None:
    """Renew the lease for a task that notes nothing for a while.

    If the lease has gone to another attempt, the task learns that when it notes or returns.
    """
    while True:
        await asyncio.sleep(LEASE.total_seconds() / 3)
        if job.lease_left(timezone.now()) < LEASE * 2 / 3:
            with survived():
                await writer.write(save_transitions, job.renew(timezone.now()))


async def attempt_failed(
    task: JobTask, job: Job, error: BaseException, retried: int, log: dict[str, Any]
) -> JsonResponse:
    """Record what a task has raised, and tell the queue whether to deliver again.

    While the database is away, nobody can learn that this attempt has ended. The next one would
    find the job held until its lease ends, so it should not come before that.
    """
    try:
        return await record_failure(task, job, error, retried, log)
    except Exception as outage:
        if not reported(outage):
            raise
        now = timezone.now()
        return again(in_words(outage), max(job.lease_left(now), (job.next_attempt_at or now) - now))


async def record_failure(
    task: JobTask, job: Job, error: BaseException, retried: int, log: dict[str, Any]
) -> JsonResponse:
    if isinstance(error, LeaseLost):
        logger.warning("lease lost", extra=log)
        return again(str(error))
    if isinstance(error, GiveUp):
        await writer.write(save_transitions, job.give_up(*described(job, error), timezone.now()))
        logger.warning("gave up", extra=log | {"error": job.error})
        await announce(task_finished, JobResult.of(job, task))
        return never(job.error)
    await writer.write(save_transitions, put_back(job, error, retried))
    expected = isinstance(error, TryAgain) or reported(error)
    extra = log | {"error": job.error}
    logger.warning("attempt failed", extra=extra, exc_info=None if expected else error)
    return again(job.error, error.after if isinstance(error, TryAgain) else None)


def cut_off(job: Job, retried: int, log: dict[str, Any]) -> None:
    """Give a job back whose delivery was ended by the queue. Nobody waits: leave the writing."""
    error = CutOff("the delivery was cut off")
    writer.submit(save_transitions, put_back(job, error, retried))
    logger.warning("cut off", extra=log)


def put_back(job: Job, error: BaseException, retried: int) -> Transition:
    """Give a job back for the next attempt, which comes when the task or the queue says."""
    after = error.after if isinstance(error, TryAgain) else None
    delay = retry_delay(job, retried) if after is None else after
    return job.wait(*described(job, error), timezone.now() + delay)


def described(job: Job, error: BaseException) -> tuple[str, list[dict[str, Any]]]:
    """What went wrong in words for people, and the job's errors with this one added."""
    step = f"step {job.steps_done + 1}: " if job.steps_total else ""
    expected = isinstance(error, TryAgain | GiveUp)
    text = step + (str(error) if expected else "".join(format_exception_only(error)).strip())
    text = text.replace("\0", "")  # PostgreSQL takes no NUL
    entry = {
        "attempt": job.attempts,
        "at": round(timezone.now().timestamp(), 3),
        "text": text,
        "exception": f"{type(error).__module__}.{type(error).__qualname__}",
        "traceback": "".join(format_exception(error))[-LONGEST_TRACEBACK:].replace("\0", ""),
    }
    return text, [*job.errors, entry][-MOST_ERRORS:]


def read_payload(body: bytes) -> dict[str, Any]:
    """A message's JSON object. ValueError if it is none, or if its job_id cannot be one."""
    try:
        payload: dict[str, Any] = json.loads(body)
        job_id = payload.get("job_id", "none")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError("the body must be a JSON object") from error
    if isinstance(job_id, str) and job_id.isascii() and job_id.isalnum():
        return payload
    raise ValueError("job_id must be the id of a job")


async def store_job(task: JobTask, payload: dict[str, Any], delivery: Delivery) -> str:
    """Store a job for a message that names none, a schedule's; once, by the message's id.

    ValueError if its arguments are not the task's, or its owner is not one of this site's.
    """
    if not delivery.message_id:
        raise ValueError("a message without a job_id must have an Upstash-Message-Id")
    args, kwargs = payload.get("args", []), payload.get("kwargs", {})
    try:
        signature(task.func).bind(*([None] if task.takes_context else []), *args, **kwargs)
    except TypeError as error:
        raise ValueError(f"args and kwargs do not fit {task.name}: {error}") from error
    job_id = Job.id_for_message(delivery.message_id)
    task = task.using(owner=owner_in(payload))
    job = new_job(task, args, kwargs, id=job_id, status=Job.Status.QUEUED)
    await writer.write(store_jobs, job)
    return job_id


@signed
async def job_failed(request: HttpRequest, delivery: Delivery) -> JsonResponse:
    """The queue has given up on a message: end its job.
    https://upstash.com/docs/qstash/features/callbacks
    """
    try:
        report = json.loads(delivery.body)
        payload = read_payload(base64.b64decode(report["sourceBody"]))
        message_id = str(report["sourceMessageId"])
        answer = f"HTTP {int(report['status'])}" if report["status"] else "no answer"
        attempts = int(report.get("retried", 0)) + 1
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return never("the body must be a failure callback for a task's message")
    job_id = payload.get("job_id") or Job.id_for_message(message_id)
    error = f"The queue gave up after {attempts} attempts; the last one got {answer}."
    job = await writer.write(fail_jobs, Failure(job_id, message_id, error))
    log = belongs_to(job=job_id, message_id=message_id)
    logger.warning("job failed", extra=log | {"ended": job is not None})
    if job:
        with suppress(TaskException):  # the task may have been removed meanwhile
            await announce(task_finished, JobResult.of(job))
    return JsonResponse({"success": True})


def refused(refusal: Refusal) -> JsonResponse:
    """Answer a message that must not start work."""
    if refusal.for_good:
        return never(refusal.reason)
    if refusal.held_until:
        return again(refusal.reason, refusal.held_until - timezone.now())
    return JsonResponse({"success": True, "note": refusal.reason})


def again(error: str, delay: timedelta | None = None) -> JsonResponse:
    """Ask the queue to deliver again, after a delay of our own or the message's."""
    response = JsonResponse({"error": error}, status=503)
    if delay is not None:
        response["Retry-After"] = str(max(1, ceil(delay.total_seconds())))
    return response


def never(error: str) -> JsonResponse:
    """Tell the queue that no further attempt can help.
    https://upstash.com/docs/qstash/features/retry
    """
    response = JsonResponse({"error": error}, status=489)
    response["Upstash-NonRetryable-Error"] = "true"
    return response
