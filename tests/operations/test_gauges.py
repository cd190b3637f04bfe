"""What the database knows, in numbers."""

import pytest
from django.db import DatabaseError

from broker.models import DeadLetter, Message, Pulse, State
from jobs.models import Job
from operations import gauges
from operations.gauges import DatabaseCollector, job_gauges, messages_by_state, queue_gauges
from tests.broker.messages import NOW, new_message

pytestmark = pytest.mark.django_db


def store(state: State, **fields: object) -> Message:
    over = state in {State.DELIVERED, State.FAILED, State.CANCELED}
    own = {"due_at": None, "expires_at": NOW} if over else {"due_at": NOW}
    message = new_message(**(own | fields))
    message.state = state
    message.save()
    return message


def values(families) -> dict[str, float]:
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def test_messages_are_counted_by_state():
    for state in State:
        if state != State.ERROR:
            store(state)
    store(State.DELIVERED)
    store(State.CREATED, due_at=None, lane="queue")
    counted = messages_by_state()
    assert counted == {state: 1 for state in State if state != State.ERROR} | {
        "DELIVERED": 2,
        "CREATED": 2,
    }


def test_what_is_due_and_for_how_long():
    store(State.CREATED, due_at=NOW - 3000)
    store(State.CREATED, due_at=NOW + 1)
    Pulse.objects.create(dispatcher="alive", seen_at=NOW - 1, in_flight=4)
    Pulse.objects.create(dispatcher="dead", seen_at=NOW - 10_001, in_flight=5)
    found = values(queue_gauges(NOW))
    assert found["queue_due_messages"] == 1
    assert found["queue_oldest_due_seconds"] == 3
    assert (found["queue_dispatchers"], found["queue_in_flight_messages"]) == (1, 4)


def test_empty_queue_is_all_zeros():
    assert set(values(queue_gauges(NOW)).values()) == {0}


def test_dead_letters_are_counted():
    message = store(State.FAILED)
    DeadLetter.objects.create(message=message, failed_at=NOW, response_status=0)
    assert values(queue_gauges(NOW))["queue_dead_letters"] == 1


def test_count_stops_where_it_is_said(monkeypatch):
    monkeypatch.setattr(gauges, "MOST_COUNTED", 3)
    for _ in range(5):
        store(State.DELIVERED)
    assert messages_by_state()["DELIVERED"] == 3


def test_jobs_are_counted_by_status():
    for status in (Job.Status.QUEUED, Job.Status.QUEUED, Job.Status.FAILED):
        Job.objects.create(task="t", status=status)
    found = values(job_gauges())
    assert (found["site_jobs queued"], found["site_jobs failed"]) == (2, 1)
    assert found["site_jobs running"] == 0


@pytest.mark.django_db(transaction=True)
def test_those_who_ask_at_once_share_one_look(django_assert_num_queries):
    collector = DatabaseCollector(lambda: NOW)
    first = collector.collect()
    with django_assert_num_queries(0):
        assert collector.collect() == first


@pytest.mark.django_db(transaction=True)
def test_database_that_does_not_answer_is_a_gauge_too(monkeypatch):
    def fail(now: int) -> list[object]:
        raise DatabaseError("gone")

    monkeypatch.setattr(gauges, "queue_gauges", fail)
    assert values(DatabaseCollector().collect()) == {"site_database_up": 0}
