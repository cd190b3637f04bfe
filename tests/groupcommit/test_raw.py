"""SQL without Django's cursor: the same rows, and the same errors."""

import pytest
from django.db import IntegrityError

from broker.models import Message, Pulse
from groupcommit.raw import execute, new_instance

INSERT = "INSERT INTO broker_pulse (dispatcher, seen_at, in_flight) VALUES (%s, %s, %s)"


def test_statement_returns_its_rows(db):
    Pulse.objects.create(dispatcher="one", seen_at=7)
    assert execute("SELECT seen_at FROM broker_pulse WHERE dispatcher = %s", ["one"]) == [(7,)]


def test_statement_without_rows_returns_none(db):
    assert execute(INSERT, ["one", 7, 0]) == []
    assert Pulse.objects.get().seen_at == 7


def test_errors_of_the_driver_are_djangos(db):
    execute(INSERT, ["one", 7, 0])
    with pytest.raises(IntegrityError):
        execute(INSERT, ["one", 8, 0])


def test_new_instance_is_as_django_makes_it(db):
    ours, theirs = new_instance(Pulse, {"dispatcher": "one", "seen_at": 7}), Pulse("one", 7)
    assert ours.__dict__ | {"_state": None} == theirs.__dict__ | {"_state": None}
    assert ours._state.__dict__ == theirs._state.__dict__
    ours.save(force_insert=True)
    assert Pulse.objects.get().in_flight == 0


def test_new_instances_share_no_defaults():
    one, other = new_instance(Message, {}), new_instance(Message, {})
    assert one.message_id != other.message_id
    one.header["A"] = ["b"]
    assert not other.header
