"""One statement for many rows, with the models' own conversions."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from broker.models import Event, Message, Pulse, State
from broker.models.log import created_lines
from groupcommit.statements import (
    insert_all,
    one_by_one,
    places,
    rows_for_update,
    update_all,
    update_returning,
)
from jobs.interface import new_job
from jobs.models import Job
from jobs.tasks import long_task
from tests.broker.messages import new_message

RAISE = (
    "WITH wanted(name, seen_at) AS ({rows}) UPDATE broker_pulse SET seen_at = wanted.seen_at"
    " FROM wanted WHERE dispatcher = wanted.name"
)


def pulses(*names: str) -> list[Pulse]:
    return [Pulse(dispatcher=name, seen_at=number) for number, name in enumerate(names)]


def test_rows_are_stored_with_their_values(db):
    message = new_message(body=b"\x00\xff", header={"X": ["ü"]}, timeout_seconds=None)
    insert_all([message])
    stored = Message.objects.get()
    assert (bytes(stored.body), stored.header) == (b"\x00\xff", {"X": ["ü"]})
    assert (stored.message_id, stored.timeout_seconds) == (message.message_id, None)


def test_many_rows_are_one_statement(transactional_db):
    insert_all(pulses(*"abcdefghij"))
    assert Pulse.objects.count() == 10
    with pytest.raises(IntegrityError):
        insert_all(pulses(*"klma"))
    assert Pulse.objects.count() == 10  # outside of a transaction, none of the four


def test_no_rows_are_no_statement(transactional_db):
    assert insert_all([]) == {}


def test_plain_and_other_values_are_stored_alike(db):
    values = {"header": {"X": ["ü"]}, "redacted": [], "flow_control": {}, "retried": True}
    message = new_message(state=State.RETRY, url="http://a.test/", due_at=None, **values)
    insert_all([message])
    stored = Message.objects.get()
    assert (stored.state, stored.url, stored.due_at) == ("RETRY", "http://a.test/", None)
    assert {name: getattr(stored, name) for name in values} == values


def test_rows_for_update_are_those_that_django_reads(transactional_db):
    header = {"X": ["ü"], "{}": []}
    messages = [new_message(header=header, body=b"\x00", retried=3), new_message()]
    stored = insert_all(messages, key="message_id")
    keys = [*stored.values(), 999_999]
    with transaction.atomic():
        found = rows_for_update(Message, keys)
    assert found == Message.objects.in_bulk(keys)
    for key, message in Message.objects.in_bulk(keys).items():
        for field in Message._meta.concrete_fields:
            assert getattr(found[key], field.attname) == getattr(message, field.attname)
    assert rows_for_update(Message, []) == {}


def test_moments_and_json_are_read_as_django_reads_them(db):
    job = new_job(long_task, ["a"], {}, return_value=0, finished_at=timezone.now())
    insert_all([job])
    found, stored = rows_for_update(Job, [job.id])[job.id], Job.objects.get()
    for field in Job._meta.concrete_fields:
        assert getattr(found, field.attname) == getattr(stored, field.attname)
    assert (found.finished_at, found.args, found.log) == (job.finished_at, ["a"], [])


def test_keys_of_stored_rows_are_answered(db):
    messages = [new_message(), new_message()]
    stored = insert_all(messages, key="message_id")
    assert stored == dict(Message.objects.values_list("message_id", "id"))


def test_rows_whose_unique_value_is_taken_are_left_out(db):
    insert_all([first := new_message(deduplication_key="k")])
    rival, other = new_message(deduplication_key="k"), new_message()
    assert list(insert_all([rival, other], key="message_id")) == [other.message_id]
    assert set(Message.objects.values_list("message_id", flat=True)) == {
        first.message_id,
        other.message_id,
    }


def test_what_is_also_inserted_belongs_to_the_rows_that_were_stored(db):
    insert_all([new_message(deduplication_key="k")])
    rival, now = new_message(deduplication_key="k"), new_message(created_at=5, not_before=5)
    later = new_message(created_at=5, not_before=9)
    stored = insert_all(
        [rival, now, later], key="message_id", also=created_lines(connection.vendor)
    )
    fields = ("message_id", "state", "time", "next_delivery_time", "response_header", "error")
    assert list(Event.objects.order_by("id").values_list(*fields)) == [
        (stored[now.message_id], "CREATED", 5, None, {}, ""),
        (stored[later.message_id], "CREATED", 5, 9, {}, ""),
    ]
    assert [bytes(event.response_body) for event in Event.objects.all()] == [b"", b""]


def test_taken_value_is_an_error_without_a_key(db):
    insert_all(pulses("a"))
    with pytest.raises(IntegrityError), transaction.atomic():
        insert_all(pulses("a"))


def test_many_rows_are_updated_each_with_its_value(db):
    insert_all(pulses("a", "b", "c"))
    assert update_all(RAISE, [("a", 10), ("c", 30), ("nobody", 40)]) == 2
    assert list(Pulse.objects.order_by("pk").values_list("seen_at", flat=True)) == [10, 1, 30]


def test_updated_rows_are_returned(db):
    insert_all(pulses("a", "b"))
    changed = update_returning(f"{RAISE} RETURNING dispatcher", [("b", 20), ("nobody", 30)])
    assert changed == [("b",)]


def test_places_are_one_for_each_value():
    assert places(2, 3) == "(%s, %s, %s), (%s, %s, %s)"


def test_function_of_one_becomes_a_write_over_a_list():
    @one_by_one
    def double(number: int) -> int:
        return 2 * number

    assert double([1, 2, 3]) == [2, 4, 6]
    assert double.__name__ == "double"
