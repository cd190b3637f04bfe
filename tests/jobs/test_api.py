"""What the queue is told: done, come again, never."""

import asyncio
import base64
import json
import threading
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone

from harness.processes import free_port
from harness.waiting import eventually
from jobs.models import LEASE, Job

TASK = "/api/long-task"


def message(job: Job) -> dict[str, str]:
    return {"hello": "world", "job_id": job.id}


def report(job: Job, **changes: object) -> dict[str, object]:
    """What the queue tells the failure callback."""
    source = base64.b64encode(json.dumps(message(job)).encode()).decode()
    return {"status": 503, "retried": 3, "maxRetries": 3, "sourceBody": source} | changes


async def test_job_succeeds(deliver, job_at, sink):
    job = await job_at(sent=9)
    response = await deliver(TASK, message(job))
    await job.arefresh_from_db()
    assert (response.status_code, response.json()) == (200, {"success": True})
    assert (job.status, job.sent, job.attempts) == ("succeeded", 10, 1)


async def test_target_gets_the_received_json_under_job_and_step(deliver, job_at, sink):
    job = await job_at(sent=9)
    await deliver(TASK, message(job) | {"more": [1]})
    (request,) = sink.requests
    assert json.loads(request["body"]) == {"hello": "world", "job_id": job.id, "more": [1]}
    assert request["headers"]["Content-Type"] == "application/json"
    assert sink.keys == [f"{job.id}-10"]


async def test_retry_goes_on_from_the_last_request_noted(deliver, job_at, sink):
    job = await job_at(sent=8, status="waiting", error="request 9: HTTP 500")
    await deliver(TASK, message(job), retried=1)
    await job.arefresh_from_db()
    assert sink.keys == [f"{job.id}-9", f"{job.id}-10"]
    assert (job.status, job.attempts, job.error) == ("succeeded", 2, "")


async def test_failing_target_brings_the_message_back(deliver, job_at, sink):
    job, before = await job_at(sent=4), timezone.now()
    sink.answer = lambda request: 500
    response = await deliver(TASK, message(job), retried=1)
    await job.arefresh_from_db()
    assert (response.status_code, response.json()) == (503, {"error": "request 5: HTTP 500"})
    assert (job.status, job.sent, job.error) == ("waiting", 4, "request 5: HTTP 500")
    assert timedelta(seconds=2) <= job.next_attempt_at - before < timedelta(seconds=12)


async def test_target_that_refuses_the_connection_brings_the_message_back(deliver, job_at):
    job = await job_at(sent=4, target_url=f"http://127.0.0.1:{free_port()}/")
    response = await deliver(TASK, message(job))
    await job.arefresh_from_db()
    assert (response.status_code, job.status) == (503, "waiting")
    assert job.error.startswith("request 5: Cannot connect to host 127.0.0.1")


async def test_failed_request_is_in_the_log_and_not_counted(deliver, job_at, sink):
    job = await job_at(sent=9)
    sink.answer = lambda request: 500 if len(sink.requests) == 1 else 200
    await deliver(TASK, message(job))
    await deliver(TASK, message(job), retried=1)
    await job.arefresh_from_db()
    assert [(r["number"], r["status"]) for r in job.request_log] == [(10, 500), (10, 200)]
    assert job.sent == 10


@pytest.mark.parametrize("status", Job.FINISHED)
async def test_second_delivery_of_a_finished_job_is_thanked(deliver, job_at, sink, status):
    job = await job_at(sent=5, status=status)
    response = await deliver(TASK, message(job), retried=1)
    assert (response.status_code, response.json()["success"]) == (200, True)
    assert sink.requests == []


async def test_held_job_asks_to_come_again(deliver, job_at, sink):
    job = await job_at(sent=5, status="running", lease_expires_at=timezone.now() + LEASE)
    response = await deliver(TASK, message(job), retried=1)
    assert response.status_code == 503
    assert 5 <= int(response["Retry-After"]) <= 7
    assert sink.requests == []


async def test_job_of_a_dead_attempt_is_taken_over(deliver, job_at, sink):
    past = timezone.now() - timedelta(seconds=1)
    job = await job_at(sent=9, status="running", lease_token="dead", lease_expires_at=past)
    response = await deliver(TASK, message(job), retried=1)
    assert response.status_code == 200
    assert sink.keys == [f"{job.id}-10"]


async def test_attempt_stops_when_its_lease_has_gone(deliver, job_at, sink):
    job = await job_at(sent=5)

    def take_over(request: object) -> int:
        Job.objects.filter(id=job.id).update(lease_token="another attempt's")
        connection.close()
        return 200

    sink.answer = take_over
    response = await deliver(TASK, message(job))
    await job.arefresh_from_db()
    assert (response.status_code, len(sink.requests)) == (503, 1)
    assert (job.status, job.lease_token) == ("running", "another attempt's")


async def test_cancelled_attempt_gives_the_job_back(deliver, job_at, sink):
    job, held = await job_at(sent=5), threading.Event()
    sink.answer = lambda request: 200 if held.wait(10) else 500
    attempt = asyncio.create_task(deliver(TASK, message(job)))
    await asyncio.to_thread(eventually, lambda: sink.requests)
    attempt.cancel()
    waiting = Job.objects.filter(id=job.id, status="waiting")
    await sync_to_async(eventually)(waiting.exists)
    held.set()
    await job.arefresh_from_db()
    assert (job.error, job.lease_token) == ("the queue hung up", "")


@pytest.mark.parametrize(
    "payload",
    [
        {"job_id": "0" * 32},
        {"hello": "world"},
        {"job_id": None},
        {"job_id": 7},
        {"job_id": ""},
        {"job_id": "\0"},
        {"job_id": "\ud800"},
        ["job_id"],
        None,
        b"",
        b"no JSON",
        b"\xff",
        b"[" * 100_000,
    ],
    ids=lambda payload: repr(payload)[:20],
)
async def test_message_that_can_never_work_says_so(deliver, payload, transactional_db):
    response = await deliver(TASK, payload)
    assert (response.status_code, list(response.json())) == (489, ["error"])
    assert response["Upstash-NonRetryable-Error"] == "true"


@pytest.mark.parametrize("retried", ["9" * 5000, "-1", "²", "", "9999"])
async def test_unsigned_retry_count_can_do_no_harm(deliver, job_at, sink, retried):
    job = await job_at(sent=4)
    sink.answer = lambda request: 500
    response = await deliver(TASK, message(job), **{"Upstash-Retried": retried})
    await job.arefresh_from_db()
    assert (response.status_code, job.status) == (503, "waiting")


async def test_queue_that_gives_up_fails_the_job(deliver, job):
    response = await deliver("/api/job-failed", report(job, status=0))
    await job.arefresh_from_db()
    assert (response.status_code, job.status) == (200, "failed")
    assert job.error == "The queue gave up after 4 attempts; the last one got no answer."


async def test_failed_job_keeps_the_reason_it_noted(deliver, job_at):
    job = await job_at(sent=4, status="waiting", error="request 5: HTTP 500")
    await deliver("/api/job-failed", report(job))
    await job.arefresh_from_db()
    assert (job.status, job.error) == ("failed", "request 5: HTTP 500")


async def test_second_failure_report_changes_nothing(deliver, job):
    await deliver("/api/job-failed", report(job))
    await job.arefresh_from_db()
    ended = job.finished_at
    response = await deliver("/api/job-failed", report(job, status=0))
    await job.arefresh_from_db()
    assert (response.status_code, job.finished_at) == (200, ended)
    assert "HTTP 503" in job.error


async def test_failure_report_cannot_undo_a_success(deliver, job_at):
    job = await job_at(sent=10, status="succeeded")
    await deliver("/api/job-failed", report(job))
    await job.arefresh_from_db()
    assert job.status == "succeeded"


@pytest.mark.parametrize(
    "changes",
    [
        {"sourceBody": "no base64!"},
        {"sourceBody": base64.b64encode(b"no JSON").decode()},
        {"sourceBody": base64.b64encode(b'{"job_id": "\\u0000"}').decode()},
        {"sourceBody": base64.b64encode(b"[" * 100_000).decode()},
        {"sourceBody": None},
        {"status": "five hundred"},
        {"status": [500]},
        {"retried": float("inf")},
        {"retried": None},
    ],
    ids=lambda changes: repr(changes)[:40],
)
async def test_malformed_failure_report_is_never_repeated(deliver, job, changes):
    response = await deliver("/api/job-failed", report(job, **changes))
    await job.arefresh_from_db()
    assert (response.status_code, job.status) == (489, "queued")
    assert response["Upstash-NonRetryable-Error"] == "true"


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"text"', b"{}"])
async def test_failure_report_that_is_none_is_never_repeated(deliver, body):
    assert (await deliver("/api/job-failed", body)).status_code == 489
