"""Enqueueing in our own database: the job and its message are one commit."""

import json
from datetime import timedelta

import pytest
from django.db import transaction
from django.tasks import default_task_backend, task_backends
from django.utils import timezone

from broker.clock import now_ms
from broker.models import Event, Message, Queue
from jobs.backends import EmbeddedQueue
from jobs.exceptions import PublishError, Refused
from jobs.interface import task_of
from jobs.models import Job
from jobs.tasks import long_task
from tests.jobs import example_tasks

TARGET = "http://target.test/"


@pytest.fixture
def with_queues(settings):
    """Settings with a queue `mail` that runs two messages at once."""
    settings.TASKS = {
        "default": {
            "BACKEND": "jobs.backends.EmbeddedQueue",
            "QUEUES": ["default", "mail"],
            "OPTIONS": {"parallelism": {"mail": 2}},
        }
    }


def test_embedded_queue_is_the_default():
    assert isinstance(task_backends["default"], EmbeddedQueue)


def test_job_and_message_are_stored_together(transactional_db):
    job = long_task.enqueue(TARGET).job
    message, stored = Message.objects.get(), Job.objects.get()
    assert message.url == "http://testserver/api/long-task"
    assert json.loads(message.body) == {"job_id": job.id, "args": [TARGET], "kwargs": {}}
    assert (stored.status, stored.message_id) == ("queued", message.message_id)


def test_message_has_the_tasks_options(transactional_db):
    long_task.using(retries=5, timeout=60, retry_delay="2000").enqueue(TARGET)
    message = Message.objects.get()
    assert (message.max_retries, message.timeout_seconds) == (5, 60)
    assert message.retry_delay_expression == "2000"
    assert message.failure_callback == "http://testserver/api/job-failed"


def test_neither_outlives_a_transaction_that_is_rolled_back(transactional_db):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        long_task.enqueue(TARGET)
        raise ZeroDivisionError
    assert (Job.objects.count(), Message.objects.count()) == (0, 0)


async def test_both_are_stored_for_a_caller_who_waits(transactional_db):
    result = await long_task.aenqueue(TARGET)
    message = await Message.objects.aget()
    assert (await Job.objects.aget()).message_id == message.message_id == result.job.message_id


def test_run_after_is_when_the_message_is_due(transactional_db):
    moment = timezone.now() + timedelta(hours=1)
    long_task.using(run_after=moment).enqueue(TARGET)
    assert 0 <= Message.objects.get().not_before / 1000 - moment.timestamp() < 1


def test_run_after_may_be_a_delay(transactional_db):
    long_task.using(run_after=timedelta(hours=1)).enqueue(TARGET)
    assert 3590_000 < Message.objects.get().not_before - now_ms() <= 3601_000


def test_queue_name_is_the_messages_queue(transactional_db, with_queues):
    long_task.using(queue_name="mail").enqueue(TARGET)
    assert Message.objects.get().queue_name == "mail"
    assert Queue.objects.get().parallelism == 2


async def test_queue_gets_its_parallelism_back(transactional_db, with_queues):
    await long_task.using(queue_name="mail").aenqueue(TARGET)
    await Queue.objects.aupdate(parallelism=7)
    await long_task.using(queue_name="mail").aenqueue(TARGET)
    assert (await Queue.objects.aget()).parallelism == 2


def test_default_queue_is_no_queue(transactional_db):
    long_task.enqueue(TARGET)
    assert Message.objects.get().queue_name is None


def test_without_a_site_the_error_says_what_to_set(transactional_db, settings):
    settings.PUBLIC_URL = ""
    with pytest.raises(PublishError, match="Set PUBLIC_URL"):
        long_task.enqueue(TARGET)
    assert not Job.objects.exists()


def test_address_that_no_queue_could_reach_is_refused(transactional_db, settings):
    settings.PUBLIC_URL = "nowhere"
    with pytest.raises(Refused, match="The queue refused the message: invalid destination url"):
        long_task.enqueue(TARGET)
    assert not Job.objects.exists()


@pytest.mark.parametrize("status", Job.PUBLISHABLE)
async def test_job_is_published_again_under_its_id(transactional_db, status):
    job = (await long_task.using(retries=5).aenqueue(TARGET)).job
    await Job.objects.aupdate(status=status)
    await job.arefresh_from_db()
    await default_task_backend.apublish(job, task_of(job))
    await job.arefresh_from_db()
    newest = await Message.objects.order_by("-id").afirst()
    assert (job.status, len(job.messages), newest.max_retries) == ("queued", 2, 5)
    assert job.message_id == newest.message_id


async def test_of_two_clicks_on_try_again_one_publishes(transactional_db):
    job = (await long_task.aenqueue(TARGET)).job
    await Job.objects.aupdate(status="failed")
    first, second = [await Job.objects.aget(id=job.id) for _ in range(2)]
    await default_task_backend.apublish(first, task_of(first))
    await default_task_backend.apublish(second, task_of(second))
    assert await Message.objects.acount() == 2
    assert len((await Job.objects.aget()).messages) == 2


async def test_cancelling_a_job_cancels_its_message(transactional_db):
    job = (await long_task.aenqueue(TARGET)).job
    assert await default_task_backend.acancel(job)
    assert (await Job.objects.aget()).status == "cancelled"
    assert (await Message.objects.aget()).state == "CANCELED"


async def test_job_that_has_begun_meanwhile_is_not_cancelled(transactional_db):
    job = (await long_task.aenqueue(TARGET)).job
    await Job.objects.aupdate(status="running")
    assert not await default_task_backend.acancel(job)
    assert (await Message.objects.aget()).state == "CREATED"


async def test_attempts_come_from_the_log_of_every_message(transactional_db):
    job = (await long_task.aenqueue(TARGET)).job
    assert await default_task_backend.attempts(job) == []
    message = await Message.objects.aget()
    await Event.objects.acreate(message=message, state="ACTIVE", time=1000)
    (attempt,) = await default_task_backend.attempts(job)
    assert (attempt.number, attempt.seconds) == (1, None)


def test_queue_is_stuck_once_a_message_has_been_due_for_ten_seconds(transactional_db):
    example_tasks.add.enqueue(1, 2)
    assert not default_task_backend.is_stuck()
    Message.objects.update(due_at=now_ms() - 11_000)
    assert default_task_backend.is_stuck()
