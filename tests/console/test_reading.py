"""Rows become what the pages show, without bodies in lists and in a few queries."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from broker.models import Event, FlowControl, Message, Queue, State
from console import reading
from tests.broker.letters import bury
from tests.broker.messages import NOW, new_message

pytestmark = pytest.mark.django_db


def kept(**fields: object) -> Message:
    message = new_message(**fields)
    message.save()
    return message


def test_row_has_a_key_and_a_mark():
    message = kept(labels=",a,b,", queue_name="q")
    row = reading.row_of(message)
    assert (row.key, row.mark) == (reading.base36(message.pk), "queued0")
    assert (row.labels, row.queue, row.attempts) == (["a", "b"], "q", 0)
    assert int(row.key, 36) == message.pk


@pytest.mark.parametrize(
    "state, retried, attempts",
    [
        (State.CREATED, 0, 0),
        (State.ACTIVE, 0, 1),
        (State.RETRY, 1, 1),
        (State.DELIVERED, 0, 1),
        (State.FAILED, 0, 1),
        (State.FAILED, 2, 3),
        (State.CANCELED, 1, 1),
    ],
)
def test_row_counts_the_attempts_of_its_message(state, retried, attempts):
    assert reading.row_of(kept(state=state, retried=retried)).attempts == attempts


def test_message_for_later_is_scheduled():
    assert reading.row_of(kept(not_before=NOW * 2)).state == "scheduled"


def test_detail_has_log_letter_and_claims_in_five_queries():
    message = new_message(body=b"hi")
    bury(message)
    with CaptureQueriesContext(connection) as queries:
        detail = reading.detail_of(message.message_id)
    assert len(queries) <= 5
    assert [line["state"] for line in detail.log] == ["ERROR", "FAILED"]
    assert detail.log[0]["responseStatus"] == 500
    assert detail.letter["dlqId"] and detail.claims["sub"] == message.url
    assert "jti" not in detail.claims


def test_long_log_is_cut_at_its_newest_lines():
    message = kept()
    Event.objects.bulk_create(
        Event(message=message, state=State.ERROR, time=NOW + n, error="x") for n in range(300)
    )
    detail = reading.detail_of(message.message_id)
    assert len(detail.log) == reading.MOST_LINES and detail.cut
    assert detail.log[-1]["time"] == NOW + 299


@pytest.mark.parametrize("name", ["", "a'b", "x" * 100, "../x"])
def test_text_that_is_no_id_names_no_message(name):
    with CaptureQueriesContext(connection) as queries:
        assert reading.detail_of(name) is None
    assert len(queries) == 0


def test_queues_and_keys_are_counted_in_one_query_each():
    for number in range(3):
        Queue.objects.create(account="site", name=f"q{number}")
        FlowControl.objects.create(account="site", name=f"k{number}")
    kept(queue_name="q1")
    kept(lane="flow:k1", runs_in="k2")
    with CaptureQueriesContext(connection) as queries:
        listed = reading.listed(reading.queues_with_lags(), "", reading.queue_in_list)
        keys = reading.listed(reading.keys(), "", reading.key_in_list)
    assert len(queries) == 2
    assert [str(queue["lag"]) for queue in listed.rows] == ["0", "1", "0"]
    assert [str(key["waitListSize"]) for key in keys.rows] == ["0", "1", "0"]
    assert [str(key["parallelismCount"]) for key in keys.rows] == ["0", "0", "1"]
