"""After a timeout, the next statements in the same thread do not wait."""

import sqlite3

import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction

from broker.models import Pulse
from groupcommit import outages
from groupcommit.connections import disk
from groupcommit.outages import NoAnswer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_limited", True)


@pytest.fixture(autouse=True)
def nothing_has_timed_out() -> None:
    connection.timed_out_at = float("-inf")


def fail(number: int) -> None:
    """An error with SQLite's number, as a driver raises it in a statement."""
    error = sqlite3.OperationalError("as the driver says")
    error.sqlite_errorcode = number
    with connection.wrap_database_errors:
        raise error if connection.vendor == "sqlite" else connection.Database.OperationalError


def time_out() -> None:
    connection.ensure_connection()
    with pytest.raises(OperationalError), connection.wrap_database_errors:
        raise NoAnswer("as a lock that was not to be had")


def test_next_statement_is_refused_at_once_and_later_ones_are_not(limited, monkeypatch):
    time_out()
    with pytest.raises(NoAnswer, match="requests before this one"):
        Pulse.objects.exists()
    monkeypatch.setattr("groupcommit.connections.PAUSE_SECONDS", 0)
    assert not Pulse.objects.exists()


def test_process_that_answers_no_requests_goes_on_waiting():
    time_out()
    assert not Pulse.objects.exists()


def test_transaction_under_way_is_not_disturbed(limited):
    with transaction.atomic():
        time_out()
        assert not Pulse.objects.exists()
    with pytest.raises(NoAnswer):
        Pulse.objects.exists()


def test_error_of_another_kind_makes_nobody_wait(limited):
    with pytest.raises(OperationalError), connection.wrap_database_errors:
        raise connection.Database.OperationalError("syntax error")
    assert not Pulse.objects.exists()


@pytest.mark.skipif("sqlite" not in settings.DATABASES["default"]["ENGINE"], reason="SQLite's")
@pytest.mark.parametrize(("number", "counts"), [(8, 1), (10, 1), (14, 1), (13, 0), (1, 0)])
def test_failure_of_the_disk_is_counted(number, counts):
    before = disk.failures
    connection.ensure_connection()
    with pytest.raises(OperationalError):
        fail(number)
    assert disk.failures - before == counts
