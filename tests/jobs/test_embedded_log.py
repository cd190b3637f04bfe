"""The log of our own queue, read for all open pages."""

import pytest

from broker.models import Event, Message, State
from jobs.embedded_log import read_log
from jobs.interface import letter_for, task_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def message(job) -> Message:
    body = letter_for(job, task_of(job)).body
    return Message.objects.create(message_id="msg_1", not_before=0, body=body)


def log(message: Message, state: State = State.RETRY, **fields: object) -> Event:
    return Event.objects.create(message=message, state=state, time=0, **fields)


def test_what_was_logged_before_is_no_news(message):
    log(message)
    since, ids = read_log(None)
    assert ids == read_log(since)[1] == set()


@pytest.mark.parametrize("state", [State.ERROR, State.RETRY, State.DELIVERED])
def test_what_becomes_of_an_attempt_is_told_once(job, message, state):
    since, _ = read_log(None)
    log(message, state)
    since, ids = read_log(since)
    assert ids == {job.id}
    assert read_log(since)[1] == set()


def test_that_an_attempt_begins_its_job_says_itself(message):
    since, _ = read_log(None)
    log(message, State.ACTIVE)
    assert read_log(since)[1] == set()


def test_smaller_id_that_is_committed_later_is_told(job, message):
    first = log(message)
    log(message, id=first.pk + 2)
    since, _ = read_log(None)
    log(message, id=first.pk + 1)
    assert read_log(since)[1] == {job.id}


@pytest.mark.parametrize("body", [b"", b"\xff", b'{"job_id": "1"}', b"[]"])
def test_message_of_something_else_is_no_jobs(message, body):
    since, _ = read_log(None)
    Message.objects.update(body=body)
    log(message)
    assert read_log(since)[1] == set()


def test_other_accounts_are_no_news(message):
    since, _ = read_log(None)
    log(message, account="other")
    assert read_log(since)[1] == set()
