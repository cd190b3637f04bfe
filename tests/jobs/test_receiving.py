"""What the queue is told, and what becomes of the job: done, again, never."""

import asyncio
import base64
import json
import threading
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone

from broker.retry import evaluate
from groupcommit.outages import NoAnswer
from groupcommit.writer import writer
from harness.processes import free_port
from harness.waiting import eventually
from jobs.interface import new_job
from jobs.models import LEASE, Job, claim_jobs
from tests.jobs import example_tasks

TASK = "/api/long-task"


def message(job: Job) -> dict[str, object]:
    return {"job_id": job.id, "args": job.args, "kwargs": job.kwargs}


def report(job: Job, **changes: object) -> dict[str, object]:
    """What the queue tells the failure callback."""
    source = base64.b64encode(json.dumps(message(job)).encode()).decode()
    own = {"status": 503, "retried": 3, "sourceBody": source, "sourceMessageId": "msg_1"}
    return own | changes


@pytest.fixture
def job_for(transactional_db):
    """Save a queued job for one of the example tasks."""

    async def job_for(task, *args: object, **fields: object) -> Job:
        job = new_job(task, args, {})
        own = {"status": "queued", "messages": [{"id": "msg_1", "at": 1_700_000_000.0}]}
        for name, value in (own | fields).items():
            setattr(job, name, value)
        await job.asave()
        return job

    return job_for


async def fresh(job: Job) -> Job:
    return await Job.objects.aget(id=job.id)


async def test_job_succeeds(deliver, job_at, sink):
    job = await job_at(steps_done=9)
    response = await deliver(TASK, message(job))
    await job.arefresh_from_db()
    assert (response.status_code, response.json()) == (200, {"success": True})
    assert (job.status, job.steps_done, job.attempts) == ("succeeded", 10, 1)


async def test_retry_goes_on_from_the_last_step_noted(deliver, job_at, sink):
    job = await job_at(steps_done=8, status="waiting", error="step 9: HTTP 500")
    await deliver(TASK, message(job), retried=1)
    await job.arefresh_from_db()
    assert sink.keys == [f"{job.id}-9", f"{job.id}-10"]
    assert (job.status, job.attempts, job.error) == ("succeeded", 2, "")


async def test_task_that_asks_for_another_try_gets_it(deliver, job_at, sink):
    job, before = await job_at(steps_done=4), timezone.now()
    sink.answer = lambda request: 500
    response = await deliver(TASK, message(job), retried=1)
    await job.arefresh_from_db()
    assert (response.status_code, response.json()) == (503, {"error": "step 5: HTTP 500"})
    assert (job.status, job.steps_done, job.error) == ("waiting", 4, "step 5: HTTP 500")
    assert timedelta(seconds=2) <= job.next_attempt_at - before < timedelta(seconds=12)
    assert "Retry-After" not in response


async def test_target_that_refuses_the_connection_means_another_try(deliver, job_at):
    nobody = f"127.0.0.1:{free_port()}"
    job = await job_at(steps_done=4, args=[f"http://{nobody}/"])
    response = await deliver(TASK, message(job))
    await job.arefresh_from_db()
    assert (response.status_code, job.status) == (503, "waiting")
    assert job.error == f"step 5: nothing answers at {nobody}"


async def test_failed_step_is_among_the_errors_and_not_counted(deliver, job_at, sink):
    job = await job_at(steps_done=9)
    sink.answer = lambda request: 500 if len(sink.requests) == 1 else 200
    await deliver(TASK, message(job))
    await deliver(TASK, message(job), retried=1)
    await job.arefresh_from_db()
    assert [(step["number"], step["text"]) for step in job.log] == [(10, "HTTP 200")]
    assert [(error["attempt"], error["text"]) for error in job.errors] == [(1, "step 10: HTTP 500")]


async def test_task_says_how_long_to_wait(deliver, job_for):
    job = await job_for(example_tasks.try_again_in_an_hour)
    response = await deliver("/api/try-again-in-an-hour", message(job))
    assert (response.status_code, response["Retry-After"]) == (503, "3600")
    assert (await fresh(job)).next_attempt_at > timezone.now() + timedelta(minutes=59)


async def test_task_says_never(deliver, job_for):
    job = await job_for(example_tasks.give_up)
    response = await deliver("/api/give-up", message(job))
    assert (response.status_code, response["Upstash-NonRetryable-Error"]) == (489, "true")
    assert ((await fresh(job)).status, (await fresh(job)).error) == ("failed", "no such address")


@pytest.mark.parametrize("task", [example_tasks.broken, example_tasks.broken_async])
async def test_any_other_exception_is_kept_with_its_traceback(deliver, job_for, caplog, task):
    job = await job_for(task)
    response = await deliver(f"/api/{task.endpoint}", message(job))
    (error,) = (await fresh(job)).errors
    assert (response.status_code, (await fresh(job)).status) == (503, "waiting")
    assert error["exception"] == "builtins.ZeroDivisionError"
    assert "example_tasks.py" in error["traceback"]
    assert "attempt failed" in caplog.text


async def test_task_that_ends_the_interpreter_only_ends_its_attempt(deliver, job_for):
    job = await job_for(example_tasks.exits)
    assert (await deliver("/api/exits", message(job))).status_code == 503
    assert (await fresh(job)).error == "SystemExit: 1"


async def test_return_value_that_json_cannot_hold_is_an_error(deliver, job_for):
    job = await job_for(example_tasks.returns_a_set)
    assert (await deliver("/api/returns-a-set", message(job))).status_code == 503
    assert (await fresh(job)).error.startswith("TypeError")


async def test_synchronous_task_runs_in_a_thread_of_its_own(deliver, job_for):
    job = await job_for(example_tasks.name_of_thread)
    await deliver("/api/name-of-thread", message(job))
    assert (await fresh(job)).return_value.startswith("task_")


async def test_synchronous_task_notes_its_steps(deliver, job_for):
    job = await job_for(example_tasks.count_to_three, status="waiting")
    await deliver("/api/count-to-three", message(job))
    noted = [step["text"] for step in (await fresh(job)).log]
    assert ((await fresh(job)).status, noted) == ("succeeded", ["one", "two", "three"])


async def test_second_delivery_of_a_job_that_succeeded_is_thanked(deliver, job_at, sink):
    job = await job_at(steps_done=5, status="succeeded")
    response = await deliver(TASK, message(job), retried=1)
    assert (response.status_code, response.json()["success"]) == (200, True)
    assert sink.requests == []


async def test_cancelled_job_does_nothing_when_its_message_comes(deliver, job_at, sink):
    job = await job_at(steps_done=5, status="cancelled")
    assert (await deliver(TASK, message(job))).status_code == 200
    assert (sink.requests, (await fresh(job)).status) == ([], "cancelled")


@pytest.mark.parametrize("message_id", ["msg_1", "msg_2"])
async def test_dead_letter_delivered_once_more_revives_a_failed_job(
    deliver, job_at, sink, message_id
):
    job = await job_at(steps_done=9, status="failed", attempts=4)
    again = await deliver(TASK, message(job), **{"Upstash-Message-Id": message_id})
    await job.arefresh_from_db()
    assert (again.status_code, len(sink.requests)) == (200, 1)
    assert (job.status, job.message_id) == ("succeeded", message_id)


async def test_attempt_after_the_one_that_failed_the_job_is_thanked(deliver, job_at, sink):
    job = await job_at(steps_done=9, status="failed", attempts=1)
    assert (await deliver(TASK, message(job), retried=1)).status_code == 200
    assert (sink.requests, (await fresh(job)).status) == ([], "failed")


async def test_held_job_is_tried_again_later(deliver, job_at, sink):
    job = await job_at(steps_done=5, status="running", lease_expires_at=timezone.now() + LEASE)
    response = await deliver(TASK, message(job), retried=1)
    assert response.status_code == 503
    assert 5 <= int(response["Retry-After"]) <= 7
    assert sink.requests == []


@pytest.fixture
def goes_away(monkeypatch):
    """A database that answers no more once a job is claimed."""
    write = writer.write

    async def no_answer(step: object, *rest: object, **options: object) -> object:
        if step is claim_jobs:
            return await write(step, *rest, **options)
        raise NoAnswer("it has not answered in time")

    monkeypatch.setattr(writer, "write", no_answer)


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_attempt_that_cannot_note_its_end_is_followed_when_its_lease_is_over(
    deliver, job_at, sink, goes_away, status
):
    """An earlier attempt would only find the job held."""
    job, sink.answer = await job_at(steps_done=5), lambda request: status
    response = await deliver(TASK, message(job))
    words = "the database is not answering: it has not answered in time"
    assert (response.status_code, response.json()) == (503, {"error": words})
    held_for = ((await fresh(job)).lease_expires_at - timezone.now()).total_seconds()
    assert held_for <= int(response["Retry-After"]) <= LEASE.total_seconds()


async def test_delay_that_a_task_has_asked_for_is_kept_in_an_outage(deliver, job_for, goes_away):
    job = await job_for(example_tasks.try_again_in_an_hour)
    response = await deliver("/api/try-again-in-an-hour", message(job))
    assert (response.status_code, response["Retry-After"]) == (503, "3600")


async def test_job_of_a_dead_attempt_is_taken_over(deliver, job_at, sink):
    past = timezone.now() - timedelta(seconds=1)
    job = await job_at(steps_done=9, status="running", lease_token="dead", lease_expires_at=past)
    response = await deliver(TASK, message(job), retried=1)
    assert response.status_code == 200
    assert sink.keys == [f"{job.id}-10"]


async def test_attempt_stops_when_its_lease_has_gone(deliver, job_at, sink):
    job = await job_at(steps_done=5)

    def take_over(request: object) -> int:
        Job.objects.filter(id=job.id).update(lease_token="another attempt's")
        connection.close()
        return 200

    sink.answer = take_over
    response = await deliver(TASK, message(job))
    await job.arefresh_from_db()
    assert (response.status_code, len(sink.requests)) == (503, 1)
    assert (job.status, job.lease_token) == ("running", "another attempt's")


async def test_lease_is_renewed_while_a_task_notes_nothing(deliver, job_for):
    job = await job_for(example_tasks.wait_for_release)
    attempt = asyncio.create_task(deliver("/api/wait-for-release", message(job)))
    renewed = Job.objects.filter(lease_expires_at__gt=timezone.now() + LEASE * 1.3)
    async with asyncio.timeout(20):
        while not await renewed.aexists():
            await asyncio.sleep(0.05)
    example_tasks.released.set()
    assert (await attempt).status_code == 200


async def test_attempt_that_is_cut_off_gives_the_job_back(deliver, job_at, sink):
    job, held = await job_at(steps_done=5), threading.Event()
    sink.answer = lambda request: 200 if held.wait(10) else 500
    attempt = asyncio.create_task(deliver(TASK, message(job)))
    await asyncio.to_thread(eventually, lambda: sink.requests)
    attempt.cancel()
    waiting = Job.objects.filter(id=job.id, status="waiting")
    await sync_to_async(eventually)(waiting.exists)
    held.set()
    await job.arefresh_from_db()
    assert job.error == "step 6: the delivery was cut off"


async def test_message_of_another_task_never_runs(deliver, job_for):
    job = await job_for(example_tasks.give_up)
    response = await deliver(TASK, message(job))
    assert response.status_code == 489
    assert response.json() == {"error": "the job's task is tests.jobs.example_tasks.give_up"}


async def test_endpoint_that_no_task_has_is_unknown(deliver, transactional_db):
    response = await deliver("/api/no-such-task", {})
    assert (response.status_code, response["Upstash-NonRetryable-Error"]) == (489, "true")
    assert response.json() == {"error": "there is no task at /api/no-such-task"}


async def test_message_without_a_job_gets_one_once(deliver, transactional_db):
    for retried in (0, 1):
        body = {"args": [2], "kwargs": {"b": 3}}
        response = await deliver("/api/add", body, retried=retried)
        assert response.status_code == 200
    job = await Job.objects.aget()
    assert (job.status, job.return_value, job.message_id) == ("succeeded", 5, "msg_1")


async def test_two_messages_without_a_job_get_two(deliver, transactional_db):
    for message_id in ("msg_1", "msg_2"):
        await deliver("/api/add", {"args": [2, 3]}, **{"Upstash-Message-Id": message_id})
    assert await Job.objects.acount() == 2


@pytest.mark.parametrize(
    "payload",
    [
        {"job_id": "0" * 32},
        {"job_id": None, "args": []},
        {"job_id": 7},
        {"job_id": ""},
        {"job_id": "\0"},
        {"job_id": "\ud800"},
        {"args": [1, 2, 3]},
        {"args": 1},
        {"kwargs": [1]},
        {"kwargs": {"a": 1, "c": 2}},
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
    response = await deliver("/api/add", payload)
    assert (response.status_code, list(response.json())) == (489, ["error"])
    assert response["Upstash-NonRetryable-Error"] == "true"
    assert not await Job.objects.aexists()


@pytest.mark.parametrize("retried", ["9" * 5000, "-1", "²", "", "9999"])
async def test_unsigned_retry_count_can_do_no_harm(deliver, job_at, sink, retried):
    job = await job_at(steps_done=4)
    sink.answer = lambda request: 500
    response = await deliver(TASK, message(job), **{"Upstash-Retried": retried})
    await job.arefresh_from_db()
    assert (response.status_code, job.status) == (503, "waiting")


@pytest.mark.parametrize(("retried", "seconds"), [(0, 1), (1, 2), (2, 4), (3, 8)])
async def test_page_and_queue_mean_the_same_delay(deliver, job_at, sink, retried, seconds):
    job = await job_at(steps_done=4)
    sink.answer = lambda request: 500
    before = timezone.now()
    await deliver(TASK, message(job), retried=retried)
    assert evaluate(job.options["retry_delay"], retried) == 1000 * seconds
    assert (await fresh(job)).next_attempt_at >= before + timedelta(seconds=seconds)


async def test_queue_that_gives_up_fails_the_job(deliver, job):
    response = await deliver("/api/job-failed", report(job, status=0))
    await job.arefresh_from_db()
    assert (response.status_code, job.status) == (200, "failed")
    assert job.error == "The queue gave up after 4 attempts; the last one got no answer."


async def test_failed_job_keeps_the_reason_it_noted(deliver, job_at):
    job = await job_at(steps_done=4, status="waiting", error="step 5: HTTP 500")
    await deliver("/api/job-failed", report(job))
    await job.arefresh_from_db()
    assert (job.status, job.error) == ("failed", "step 5: HTTP 500")


async def test_second_failure_report_changes_nothing(deliver, job):
    await deliver("/api/job-failed", report(job))
    await job.arefresh_from_db()
    ended = job.finished_at
    response = await deliver("/api/job-failed", report(job, status=0))
    await job.arefresh_from_db()
    assert (response.status_code, job.finished_at) == (200, ended)
    assert "HTTP 503" in job.error


async def test_failure_report_cannot_undo_a_success(deliver, job_at):
    job = await job_at(steps_done=10, status="succeeded")
    await deliver("/api/job-failed", report(job))
    await job.arefresh_from_db()
    assert job.status == "succeeded"


async def test_failure_report_of_an_earlier_message_changes_nothing(deliver, job_at):
    messages = [{"id": "msg_1", "at": 1.0}, {"id": "msg_2", "at": 2.0}]
    job = await job_at(steps_done=4, messages=messages)
    await deliver("/api/job-failed", report(job))
    assert (await fresh(job)).status == "queued"


async def test_queue_gives_up_on_a_message_that_brought_its_job(deliver, transactional_db):
    job = Job(id=Job.id_for_message("msg_1"), task="tests.jobs.example_tasks.broken")
    await job.asave()
    body = base64.b64encode(b"{}").decode()
    await deliver("/api/job-failed", report(job, sourceBody=body))
    assert (await fresh(job)).status == "failed"


@pytest.mark.parametrize(
    "changes",
    [
        {"sourceBody": "no base64!"},
        {"sourceBody": base64.b64encode(b"no JSON").decode()},
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


@pytest.mark.parametrize("job_id", ["\0", "\ud800", 7, ["x"]])
async def test_failure_report_of_an_impossible_job_changes_nothing(deliver, job, job_id):
    body = base64.b64encode(json.dumps({"job_id": job_id}).encode()).decode()
    response = await deliver("/api/job-failed", report(job, sourceBody=body))
    assert response.status_code == 489


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"text"', b"{}"])
async def test_failure_report_that_is_none_is_never_repeated(deliver, body):
    assert (await deliver("/api/job-failed", body)).status_code == 489


async def test_job_keeps_what_its_receiver_saw_of_the_request(deliver, job_at, settings):
    job = await job_at(steps_done=10)
    own = {"Upstash-Schedule-Id": "s" * 500, "Authorization": "Bearer secret", "Cookie": "secret"}
    await deliver(TASK, message(job), retried=1, **own)
    kept = (await fresh(job)).received
    assert kept["headers"]["Upstash-Message-Id"] == "msg_1"
    assert kept["headers"]["Upstash-Retried"] == "1"
    assert kept["headers"]["Upstash-Schedule-Id"] == "s" * 128
    assert kept["claims"]["sub"] == f"{settings.PUBLIC_URL}{TASK}"
    assert kept["claims"]["key"] == 0


async def test_neither_signature_nor_secrets_are_kept(deliver, job_at, settings):
    job = await job_at(steps_done=10)
    await deliver(TASK, message(job), Authorization="Bearer secret", Cookie="secret")
    text = json.dumps((await fresh(job)).received)
    assert "Upstash-Signature" not in text
    assert "secret" not in text
    assert "eyJ" not in text  # the beginning of every JWT
    assert settings.QSTASH_CURRENT_SIGNING_KEY not in text


async def test_request_that_may_not_claim_the_job_leaves_no_trace(deliver, job_at):
    job = await job_at(steps_done=10, status="succeeded")
    await deliver(TASK, message(job), retried=3)
    assert (await fresh(job)).received == {}
