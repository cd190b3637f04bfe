"""One statement for many rows, with the models' own conversions."""

import pytest
from django.db import IntegrityError, transaction

from broker.models import Message, Pulse
from groupcommit.statements import (
    insert_all,
    one_by_one,
    places,
    update_all,
    update_each,
    update_returning,
)
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


def test_many_rows_are_one_statement(db, django_assert_num_queries):
    with django_assert_num_queries(1):
        insert_all(pulses(*"abcdefghij"))
    assert Pulse.objects.count() == 10


def test_no_rows_are_no_statement(db, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert insert_all([]) == {}


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


def test_each_update_says_whether_its_row_was_as_expected(db):
    insert_all(pulses("a", "b", "c"))
    changes = [
        ({"dispatcher": "c", "seen_at": 2}, {"seen_at": 12, "in_flight": 1}),
        ({"dispatcher": "a", "seen_at": 7}, {"seen_at": 10, "in_flight": 1}),
        ({"dispatcher": "nobody", "seen_at": 0}, {"seen_at": 1, "in_flight": 1}),
        ({"dispatcher": "b", "seen_at": 1}, {"seen_at": 11, "in_flight": 1}),
    ]
    assert update_each(Pulse, changes) == [True, False, False, True]
    seen = dict(Pulse.objects.values_list("dispatcher", "seen_at"))
    assert seen == {"a": 0, "b": 11, "c": 12}


def test_no_updates_are_no_statement(db, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert update_each(Pulse, []) == []


def test_update_that_breaks_a_constraint_is_djangos_error(db):
    insert_all(pulses("a"))
    with pytest.raises(IntegrityError), transaction.atomic():
        update_each(Pulse, [({"dispatcher": "a"}, {"seen_at": None})])
