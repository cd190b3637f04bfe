from datetime import timedelta

import pytest
from django.utils import timezone

from broker.models import Event, Message, State
from jobs.interface import letter_for, task_of
from jobs.live_source import (
    ASKED_FOR,
    QUIET_LOOKS,
    SETTLED_WITHIN,
    read_changed,
    read_log,
    read_unsettled,
)
from jobs.models import Job


@pytest.fixture
def since(job):
    """Where to go on, once the job has been stored."""
    return read_changed(None)[0]


def change(job, status="queued", seconds_ago=0.0):
    changed_at = timezone.now() - timedelta(seconds=seconds_ago)
    Job.objects.filter(id=job.id).update(status=status, changed_at=changed_at)


def test_job_that_was_there_is_no_news(since):
    assert read_changed(since)[1] == set()


def test_change_is_told_to_the_jobs_page_and_to_its_owners(job, since):
    change(job)
    since, topics = read_changed(since)
    assert topics == {f"job:{job.id}", "jobs:somebody"}
    assert read_changed(since)[1] == set()


def test_change_that_is_committed_late_is_told(job, since):
    change(job, seconds_ago=2)
    assert f"job:{job.id}" in read_changed(since)[1]


def test_every_transition_is_a_change(job, since):
    transition = job.cancel(timezone.now())
    Job.objects.filter(id=job.id).update(**transition.after)
    assert f"job:{job.id}" in read_changed(since)[1]


@pytest.mark.parametrize(
    ("status", "seconds_ago", "is_asked"),
    [
        ("queued", 2, True),
        ("queued", ASKED_FOR.total_seconds() + 1, False),
        ("succeeded", 0, True),
        ("failed", 0, True),
        ("succeeded", SETTLED_WITHIN.total_seconds() + 1, False),
        ("running", 0, False),
    ],
)
def test_pages_look_again_while_only_a_hosted_queue_may_know_more(
    job, settings, status, seconds_ago, is_asked
):
    settings.TASKS = {"default": {"BACKEND": "jobs.backends.HostedQueue"}}
    change(job, status, seconds_ago)
    assert (f"job:{job.id}" in read_unsettled(None)[1]) is is_asked


def test_pages_need_not_look_again_where_the_log_says_so(job):
    change(job, "succeeded")
    assert read_unsettled(None) == (None, set())


def test_line_of_the_log_is_told_and_once_more_when_the_job_is_quiet(job):
    since, _ = read_log(None)
    log(job, State.ERROR)
    topics = []
    for _ in range(QUIET_LOOKS + 2):
        since, found = read_log(since)
        topics.append(found)
    theirs = {f"job:{job.id}", "jobs:somebody"}
    assert topics == [theirs, *[set()] * (QUIET_LOOKS - 1), theirs, set()]


def test_job_that_is_not_queued_any_more_is_not_told_once_more(job):
    since, _ = read_log(None)
    change(job, "succeeded")
    log(job, State.DELIVERED)
    since, topics = read_log(since)
    assert f"job:{job.id}" in topics
    for _ in range(QUIET_LOOKS):
        since, topics = read_log(since)
        assert topics == set()


def log(job, state):
    body = letter_for(job, task_of(job)).body
    message = Message.objects.create(message_id="msg_1", not_before=0, body=body)
    Event.objects.create(message=message, state=state, time=0)


def test_look_is_one_query(job, since, django_assert_num_queries):
    with django_assert_num_queries(1):
        read_changed(since)
    log_since, _ = read_log(None)
    with django_assert_num_queries(1):
        read_log(log_since)
    with django_assert_num_queries(0):
        read_unsettled(None)
