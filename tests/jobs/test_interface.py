"""The contract of Django's tasks, kept by both queues, and the options that we add to it.

https://docs.djangoproject.com/en/6.1/topics/tasks/
https://docs.djangoproject.com/en/6.1/ref/tasks/
"""

import base64
import copy
import json
import pickle
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.tasks import TaskResultStatus, default_task_backend, task, task_backends
from django.tasks.exceptions import (
    InvalidTask,
    InvalidTaskBackend,
    TaskResultDoesNotExist,
    TaskResultMismatch,
)
from django.tasks.signals import task_enqueued, task_finished, task_started
from django.utils import timezone

from groupcommit.writer import writer
from jobs.exceptions import GiveUp, LeaseLost, TryAgain
from jobs.interface import JobContext, JobResult, JobTask, letter_for, new_job, task_of
from jobs.models import LEASE, Arrival, Job, claim_jobs
from tests.jobs import documented_tasks, example_tasks
from tests.jobs.documented_tasks import echo, email_users, three_steps

ONE_MAIL = {"emails": ["user@example.com"], "subject": "Hello", "message": "Hello there!"}
READY, RUNNING = TaskResultStatus.READY, TaskResultStatus.RUNNING
FAILED, SUCCESSFUL = TaskResultStatus.FAILED, TaskResultStatus.SUCCESSFUL


@pytest.fixture(params=["jobs.backends.EmbeddedQueue", "jobs.backends.HostedQueue"])
def backend(request, hosted, settings) -> str:
    """Both queues in turn, each with a second backend and a queue for mail."""
    entry = {"BACKEND": request.param, "QUEUES": ["default", "mail"]}
    settings.TASKS = {"default": entry, "reserve": entry}
    return request.param


@pytest.fixture
def queue(backend, transactional_db) -> str:
    """The same with a database, for whoever enqueues."""
    return backend


@pytest.fixture
def attempt(deliver):
    """Deliver a result's message to its task, and read what has become of it."""

    async def attempt(result: JobResult, retried: int = 0):
        named = {"Upstash-Message-Id": result.job.message_id}
        path = f"/api/{result.task.endpoint}"
        response = await deliver(path, {"job_id": result.id}, retried, **named)
        await result.arefresh()
        return response

    return attempt


@pytest.fixture
def queue_gives_up(deliver):
    """Report to the site that the queue has given up on a result's message."""

    async def queue_gives_up(result: JobResult) -> None:
        body = base64.b64encode(json.dumps({"job_id": result.id}).encode()).decode()
        source = {"sourceBody": body, "sourceMessageId": result.job.message_id}
        await deliver("/api/job-failed", source | {"status": 503, "retried": 3})
        await result.arefresh()

    return queue_gives_up


@pytest.fixture
def outbox(mailoutbox, settings):
    """The mail that tasks have sent."""
    settings.MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
    return mailoutbox


@pytest.fixture
def heard():
    """What the three signals have been sent with, in order."""
    heard = []

    def listen(name):
        def receiver(sender, task_result, **kwargs):
            heard.append((name, sender, task_result.id, task_result.status))

        return receiver

    signals = {"enqueued": task_enqueued, "started": task_started, "finished": task_finished}
    receivers = {name: listen(name) for name in signals}
    for name, signal in signals.items():
        signal.connect(receivers[name], weak=False)
    yield heard
    for name, signal in signals.items():
        signal.disconnect(receivers[name])


# Defining and modifying tasks.


def test_decorated_function_is_a_task():
    assert isinstance(email_users, JobTask)
    assert email_users.name == "email_users"
    assert email_users.module_path == "tests.jobs.documented_tasks.email_users"


def test_task_can_be_called_without_any_queue(outbox):
    assert email_users.call(**ONE_MAIL) == 1
    assert outbox[0].subject == "Hello"


def test_modified_task_leaves_the_original_as_it_is(backend):
    moment = timezone.now()
    other = email_users.using(queue_name="mail", backend="reserve", run_after=moment)
    assert (other.queue_name, other.backend, other.run_after) == ("mail", "reserve", moment)
    assert (email_users.queue_name, email_users.backend) == ("default", "default")
    assert email_users.run_after is None


def test_task_that_is_modified_twice_keeps_the_first_change(backend):
    twice = email_users.using(queue_name="mail").using(backend="reserve")
    assert (twice.queue_name, twice.backend) == ("mail", "reserve")


def test_unknown_option_is_a_type_error():
    with pytest.raises(TypeError):
        email_users.using(colour="green")


def test_task_cannot_be_changed_in_place():
    with pytest.raises(AttributeError):
        email_users.retries = 7


def test_delay_becomes_a_moment():
    before = timezone.now()
    assert email_users.using(run_after=timedelta(hours=1)).run_after >= before + timedelta(hours=1)


def pickled(task: JobTask) -> JobTask:
    return pickle.loads(pickle.dumps(task))  # noqa: S301


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickled])
def test_copied_task_is_the_same_task(backend, duplicate):
    modified = three_steps.using(queue_name="mail", retries=7, owner="somebody")
    assert duplicate(modified) == modified


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"priority": 10}, "does not support setting priority"),
        ({"queue_name": "unknown"}, "Queue 'unknown' is not valid"),
        ({"run_after": datetime(2026, 1, 1)}, "aware datetime"),
    ],
)
def test_what_the_queue_cannot_do_is_an_invalid_task(backend, options, words):
    with pytest.raises(InvalidTask, match=words):
        email_users.using(**options)


def test_unknown_backend_is_named():
    with pytest.raises(InvalidTaskBackend, match="'unknown'"):
        email_users.using(backend="unknown")


def test_function_within_a_function_is_no_task(backend):
    def inner() -> None:
        pass

    with pytest.raises(InvalidTask, match="module level"):
        task(inner)


def test_built_in_function_is_no_task(backend):
    with pytest.raises(InvalidTask, match="module level"):
        task(any)


def test_task_that_takes_the_context_has_a_place_for_it(backend):
    with pytest.raises(InvalidTask, match="first argument of 'context'"):
        task(takes_context=True)(documented_tasks.no_context)


def test_run_after_cannot_be_an_option_of_the_decorator():
    with pytest.raises(TypeError, match="run_after"):
        task(run_after=timezone.now())(documented_tasks.no_task)


def test_backends_say_what_they_can_do(backend):
    queue = task_backends["default"]
    assert queue.supports_defer
    assert queue.supports_async_task
    assert queue.supports_get_result
    assert not queue.supports_priority


# Options of our own.


def test_tasks_without_options_have_usual_ones():
    assert (email_users.retries, email_users.timeout, email_users.steps) == (3, 25, 0)


def test_options_of_the_decorator_are_the_tasks():
    own = documented_tasks.with_options
    assert (own.retries, own.retry_delay, own.timeout) == (1, "500", 5)
    assert three_steps.steps == 3
    assert documented_tasks.with_options.endpoint == "one-try-more"


def test_endpoint_is_the_tasks_name_with_dashes():
    assert email_users.endpoint == "email-users"


@pytest.mark.parametrize(
    "options",
    [
        {"steps": -1},
        {"steps": 1.5},
        {"retries": -1},
        {"retries": True},
        {"timeout": 0},
        {"timeout": "25"},
    ],
)
def test_number_that_no_queue_can_use_is_an_invalid_task(backend, options):
    (name,) = options
    with pytest.raises(InvalidTask, match=f"{name}=.* must be a whole number"):
        task(**options)(documented_tasks.no_task)


@pytest.mark.parametrize("delay", ["tomorrow", "__import__('os')", "pow(2,", 1000])
def test_retry_delay_that_no_queue_can_read_is_an_invalid_task(backend, delay):
    with pytest.raises(InvalidTask, match="retry_delay="):
        email_users.using(retry_delay=delay)


@pytest.mark.parametrize("endpoint", ["job-failed", "a/b", "a b", "ä", "x" * 101])
def test_endpoint_that_no_url_can_have_is_an_invalid_task(backend, endpoint):
    with pytest.raises(InvalidTask, match="endpoint="):
        task(endpoint=endpoint)(documented_tasks.no_task)


def test_two_tasks_cannot_share_an_endpoint(backend):
    with pytest.raises(InvalidTask, match="would both be received at /api/email-users"):
        task(endpoint="email-users")(documented_tasks.no_task)


def test_message_has_the_options_of_its_task():
    options = letter_for(
        new_job(documented_tasks.with_options, (), {}), documented_tasks.with_options
    )
    assert options.url == "http://testserver/api/one-try-more"
    assert options.headers == {
        "Content-Type": "application/json",
        "Upstash-Failure-Callback": "http://testserver/api/job-failed",
        "Upstash-Retries": "1",
        "Upstash-Retry-Delay": "500",
        "Upstash-Timeout": "5s",
    }


def test_message_of_a_deferred_task_names_the_moment():
    later = email_users.using(run_after=datetime.fromisoformat("2033-05-18T03:33:19.5Z"))
    headers = letter_for(new_job(later, (), ONE_MAIL), later).headers
    assert headers["Upstash-Not-Before"] == "2000000000"


def test_message_has_what_the_task_is_called_with():
    job = new_job(echo, [1, "two"], {"three": None})
    body = json.loads(letter_for(job, echo).body)
    assert body == {"job_id": job.id, "args": [1, "two"], "kwargs": {"three": None}}


def test_job_remembers_the_options_that_it_was_enqueued_with(backend):
    own = {"retries": 7, "retry_delay": "9000", "timeout": 11, "steps": 4, "owner": "somebody"}
    modified = three_steps.using(**own, queue_name="mail", run_after=timedelta(hours=1))
    assert task_of(new_job(modified, (), {})) == modified


# Enqueueing.


def test_enqueued_task_is_a_job_that_is_ready(queue):
    result = email_users.enqueue(**ONE_MAIL)
    job = Job.objects.get(id=result.id)
    assert (job.status, job.task, job.kwargs) == ("queued", email_users.module_path, ONE_MAIL)
    assert (result.status, result.attempts, result.is_finished) == (READY, 0, False)
    assert (result.enqueued_at, result.started_at) == (job.created_at, None)


async def test_enqueueing_asynchronously_does_the_same(queue):
    result = await email_users.using(queue_name="mail", owner="somebody").aenqueue(**ONE_MAIL)
    job = await Job.objects.aget(id=result.id)
    assert (job.status, job.queue_name, job.owner) == ("queued", "mail", "somebody")
    assert (result.status, result.kwargs, result.backend) == (READY, ONE_MAIL, "default")


@pytest.mark.parametrize("value", [timezone.now(), {1}, object(), [timedelta()]])
def test_argument_that_json_cannot_hold_is_a_type_error(queue, value):
    with pytest.raises(TypeError):
        echo.enqueue(value)
    with pytest.raises(TypeError):
        echo.enqueue(value=value)
    assert not Job.objects.exists()


def test_argument_that_is_no_text_is_a_value_error(queue):
    with pytest.raises(ValueError, match="bytes"):
        echo.enqueue(b"\xff")
    assert echo.enqueue(b"text").args == ["text"]


def test_tuples_become_lists(queue):
    result = echo.enqueue((1, 2), inner={"three": (3,)})
    assert result.args == Job.objects.get().args == [[1, 2]]
    assert result.kwargs == Job.objects.get().kwargs == {"inner": {"three": [3]}}


def test_task_is_validated_again_when_it_is_enqueued(queue, settings):
    settings.TASKS = {"default": {"BACKEND": queue, "QUEUES": ["mail"]}}
    with pytest.raises(InvalidTask, match="Queue 'default' is not valid"):
        echo.enqueue()
    assert not Job.objects.exists()


async def test_task_is_validated_again_when_it_is_enqueued_asynchronously(queue, settings):
    settings.TASKS = {"default": {"BACKEND": queue, "QUEUES": ["mail"]}}
    with pytest.raises(InvalidTask, match="Queue 'default' is not valid"):
        await echo.aenqueue()
    assert not await Job.objects.aexists()


def test_task_enqueued_in_a_transaction_vanishes_with_it(queue, cloud):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        echo.enqueue()
        raise ZeroDivisionError
    assert not Job.objects.exists()
    assert cloud.asked == []


def test_task_enqueued_in_a_transaction_is_queued_once_it_commits(queue):
    with transaction.atomic():
        result = echo.enqueue()
    assert Job.objects.get(id=result.id).status == "queued"


def test_task_may_be_enqueued_on_commit(queue):
    with transaction.atomic():
        transaction.on_commit(partial(echo.enqueue, thing_num=1))
        assert not Job.objects.exists()
    assert (Job.objects.get().status, Job.objects.get().kwargs) == ("queued", {"thing_num": 1})


# Running, and the results.


async def test_synchronous_task_of_the_documentation_runs(queue, attempt, outbox):
    result = await email_users.aenqueue(**ONE_MAIL)
    assert (await attempt(result)).status_code == 200
    assert (result.status, result.return_value, result.is_finished) == (SUCCESSFUL, 1, True)
    assert [mail.subject for mail in outbox] == ["Hello"]


async def test_task_that_takes_the_context_knows_its_attempt(queue, attempt, outbox):
    result = await documented_tasks.email_with_context.aenqueue(["user@example.com"], "Hello")
    await attempt(result)
    assert outbox[0].body == f"attempt 1 of {result.id}"


async def test_asynchronous_task_gets_its_arguments(queue, attempt):
    result = await echo.aenqueue(1, "two", three=[3])
    await attempt(result)
    assert result.return_value == {"args": [1, "two"], "kwargs": {"three": [3]}}


async def test_synchronous_task_has_a_thread_of_the_tasks(queue, attempt):
    result = await example_tasks.name_of_thread.aenqueue()
    await attempt(result)
    assert result.return_value.startswith("task")


async def test_synchronous_task_may_ask_the_database(queue, attempt):
    result = await documented_tasks.count_jobs.aenqueue()
    await attempt(result)
    assert result.return_value == 1


async def test_task_enqueued_by_synchronous_code_runs_too(queue, attempt):
    result = await sync_to_async(echo.enqueue)("hello")
    await attempt(result)
    assert result.return_value["args"] == ["hello"]


async def test_finished_task_knows_when_and_where_it_ran(queue, attempt):
    result = await echo.aenqueue()
    await attempt(result)
    assert result.enqueued_at < result.started_at == result.last_attempted_at < result.finished_at
    assert len(result.worker_ids) == result.attempts == 1


def test_result_is_found_by_its_id(queue):
    result = email_users.enqueue(**ONE_MAIL)
    found = email_users.get_result(result.id)
    assert (found.id, found.task, found.kwargs) == (result.id, email_users, ONE_MAIL)
    assert default_task_backend.get_result(result.id) == found


async def test_result_is_found_asynchronously_too(queue):
    result = await email_users.aenqueue(**ONE_MAIL)
    assert (await email_users.aget_result(result.id)).id == result.id
    assert (await default_task_backend.aget_result(result.id)).task == email_users


async def test_unknown_result_does_not_exist(queue):
    with pytest.raises(TaskResultDoesNotExist):
        await email_users.aget_result("0" * 32)
    with pytest.raises(TaskResultDoesNotExist):
        await sync_to_async(default_task_backend.get_result)("0" * 32)


def test_result_of_another_backend_does_not_exist(queue):
    result = email_users.using(backend="reserve").enqueue(**ONE_MAIL)
    assert task_backends["reserve"].get_result(result.id)
    with pytest.raises(TaskResultDoesNotExist):
        default_task_backend.get_result(result.id)


async def test_result_of_another_task_does_not_match(queue):
    result = await echo.aenqueue()
    with pytest.raises(TaskResultMismatch, match="tests.jobs.documented_tasks.echo"):
        await email_users.aget_result(result.id)
    with pytest.raises(TaskResultMismatch):
        await sync_to_async(email_users.get_result)(result.id)


@pytest.mark.parametrize(
    "path",
    ["jobs.tasks.gone", "gone.tasks.task", "gone", "tests.jobs.documented_tasks.no_task"],
)
def test_result_of_a_task_that_is_gone_does_not_exist(queue, path):
    job = Job.objects.create(task=path)
    with pytest.raises(TaskResultDoesNotExist, match=path):
        default_task_backend.get_result(job.id)


def test_result_does_not_change_by_itself(queue):
    result = echo.enqueue()
    Job.objects.update(status="running", workers=["worker-1"])
    assert (result.status, result.attempts) == (READY, 0)
    result.refresh()
    assert (result.status, result.attempts) == (RUNNING, 1)


async def test_refreshed_result_has_a_fresh_job(queue, attempt):
    result = await three_steps.aenqueue()
    await attempt(result)
    assert (result.job.status, result.job.steps_done) == ("succeeded", 3)


@pytest.mark.parametrize("status", ["not_sent", "queued", "waiting", "running"])
def test_task_that_has_not_finished_has_no_return_value(queue, status):
    result = JobResult.of(new_job(echo, (), {}, status=status))
    assert not result.is_finished
    with pytest.raises(ValueError, match="not finished"):
        _ = result.return_value


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_task_that_ended_badly_has_no_return_value(queue, status):
    result = JobResult.of(new_job(echo, (), {}, status=status))
    assert result.is_finished
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value


async def test_error_is_kept_with_its_traceback_and_the_task_tried_again(queue, attempt):
    result = await example_tasks.broken_async.aenqueue()
    assert (await attempt(result)).status_code == 503
    (error,) = result.errors
    assert error.exception_class is ZeroDivisionError
    assert error.traceback.startswith("Traceback")
    assert "ZeroDivisionError: division by zero" in error.traceback
    assert (result.status, result.is_finished) == (READY, False)


async def test_each_attempt_leaves_its_error(queue, attempt):
    result = await example_tasks.broken_async.aenqueue()
    await attempt(result)
    await attempt(result, retried=1)
    assert (len(result.errors), result.attempts) == (2, 2)


async def test_task_fails_once_the_queue_gives_up(queue, attempt, queue_gives_up):
    result = await example_tasks.broken_async.aenqueue()
    await attempt(result)
    await queue_gives_up(result)
    assert (result.status, result.is_finished) == (FAILED, True)
    assert result.errors[0].exception_class is ZeroDivisionError


async def test_key_that_json_has_changed_fails_as_the_documentation_says(queue, attempt):
    result = await documented_tasks.double_dictionary.aenqueue((1, 2, 3))
    await attempt(result)
    assert result.errors[0].exception_class is TypeError
    assert "TypeError: unhashable type: 'list'" in result.errors[0].traceback


async def test_return_value_that_json_cannot_hold_is_an_error(queue, attempt):
    result = await example_tasks.returns_a_set.aenqueue()
    assert (await attempt(result)).status_code == 503
    assert result.errors[0].exception_class is TypeError


async def test_return_value_that_the_database_refuses_is_an_error(queue, attempt):
    result = await documented_tasks.return_no_number.aenqueue()
    assert (await attempt(result)).status_code == 503
    assert (result.status, len(result.errors)) == (READY, 1)


async def test_error_of_a_job_whose_queue_is_gone_is_kept_too(queue, attempt, settings):
    result = await example_tasks.broken_async.using(queue_name="mail").aenqueue()
    settings.TASKS = {"default": {"BACKEND": queue, "QUEUES": ["default"]}}
    with suppress(InvalidTask):  # the result can be read again once the queue is back
        await attempt(result)
    job = await Job.objects.aget()
    assert (job.status, len(job.errors)) == ("waiting", 1)


async def test_wrong_arguments_are_an_error_of_the_task(queue, attempt):
    result = await email_users.aenqueue("too few")
    await attempt(result)
    assert result.errors[0].exception_class is TypeError


# What a task can say, and what it knows.


async def test_task_that_gives_up_is_not_tried_again(queue, attempt):
    result = await example_tasks.give_up.aenqueue()
    response = await attempt(result)
    assert (response.status_code, response["Upstash-NonRetryable-Error"]) == (489, "true")
    assert (result.status, result.errors[0].exception_class) == (FAILED, GiveUp)


async def test_task_that_says_again_is_ready_once_more(queue, attempt):
    result = await example_tasks.try_again_in_an_hour.aenqueue()
    assert (await attempt(result))["Retry-After"] == "3600"
    assert (result.status, result.errors[0].exception_class) == (READY, TryAgain)


async def test_second_attempt_goes_on_at_the_first_step_not_noted(queue, attempt):
    result = await three_steps.aenqueue(stop_before=2)
    await attempt(result)
    job = await Job.objects.aget()
    assert (job.steps_done, job.error) == (1, "step 2: ValueError: stopped before step 2")
    await attempt(result, retried=1)
    assert (result.return_value, result.attempts) == ([2, 3], 2)


async def test_step_cannot_be_noted_once_another_attempt_works_on_the_job(transactional_db):
    job = new_job(three_steps, (), {}, status="queued")
    await job.asave()
    now = timezone.now()
    first = Arrival(job.id, "msg_1", 1, job.task, "worker-1", now)
    held = await writer.write(claim_jobs, first)
    await writer.write(claim_jobs, first._replace(attempt=2, now=now + LEASE))
    context = JobContext(task_result=JobResult.of(held))
    with pytest.raises(LeaseLost):
        await context.note("step 1")
    assert (await Job.objects.aget()).steps_done == 0


def test_steps_left_begin_after_those_that_are_noted():
    job = new_job(three_steps, (), {}, steps_done=1)
    context = JobContext(task_result=JobResult.of(job))
    assert list(context.steps_left()) == [2, 3]
    assert context.job_id == job.id


# The three signals.


async def test_signals_of_a_task_that_succeeds(queue, attempt, heard):
    result = await echo.aenqueue()
    await attempt(result)
    sender = type(task_backends["default"])
    assert heard == [
        ("enqueued", sender, result.id, READY),
        ("started", sender, result.id, RUNNING),
        ("finished", sender, result.id, SUCCESSFUL),
    ]


def test_synchronous_enqueueing_sends_the_same_signal(queue, heard):
    result = echo.enqueue()
    assert heard == [("enqueued", type(task_backends["default"]), result.id, READY)]


async def test_signals_of_a_task_that_fails(queue, attempt, queue_gives_up, heard):
    result = await example_tasks.broken_async.aenqueue()
    await attempt(result)
    await queue_gives_up(result)
    facts = [(name, status) for name, _, _, status in heard]
    assert facts == [("enqueued", READY), ("started", RUNNING), ("finished", FAILED)]


async def test_task_that_gives_up_has_finished(queue, attempt, heard):
    result = await example_tasks.give_up.aenqueue()
    await attempt(result)
    assert [(name, status) for name, _, _, status in heard[2:]] == [("finished", FAILED)]


async def test_running_task_knows_how_it_was_enqueued(queue, attempt):
    heard = []

    def receiver(sender, task_result, **kwargs):
        heard.append(task_result.task)

    modified = echo.using(backend="reserve", queue_name="mail", retries=7)
    task_started.connect(receiver)
    try:
        await attempt(await modified.aenqueue())
    finally:
        task_started.disconnect(receiver)
    assert heard == [modified]


async def test_asynchronous_receivers_hear_the_signals_too(queue, attempt):
    heard = []

    async def receiver(sender, task_result, **kwargs):
        heard.append(task_result.status)

    signals = [task_enqueued, task_started, task_finished]
    for signal in signals:
        signal.connect(receiver)
    try:
        await attempt(await echo.aenqueue())
    finally:
        for signal in signals:
            signal.disconnect(receiver)
    assert heard == [READY, RUNNING, SUCCESSFUL]
