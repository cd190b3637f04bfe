"""SQL without Django's cursor: the same rows, and the same errors."""

import pytest
from django.db import IntegrityError

from broker.models import Pulse
from groupcommit.raw import execute

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
