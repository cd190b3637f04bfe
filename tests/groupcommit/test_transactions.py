"""Transactions that wait for their turn, and not for ever."""

import threading
import time
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import (
    DEFAULT_DB_ALIAS,
    IntegrityError,
    OperationalError,
    connection,
    connections,
    transaction,
)

from broker.models import Event, Pulse
from groupcommit import outages
from groupcommit.connections import forget_timeout
from groupcommit.transactions import write_transaction
from tests.elsewhere import another_cursor, elsewhere

ON_SQLITE = "sqlite" in settings.DATABASES["default"]["ENGINE"]
sqlite_only = pytest.mark.skipif(not ON_SQLITE, reason="only SQLite has one lock for all")
INSERT = "INSERT INTO broker_pulse VALUES ('a', 1, 0)"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Another process writes, and does not commit until this is set."""
    written, release = threading.Event(), threading.Event()

    def hold() -> None:
        with another_cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE" if ON_SQLITE else "BEGIN")
            cursor.execute(INSERT)
            written.set()
            release.wait(10)
            cursor.execute("COMMIT")

    holder = threading.Thread(target=hold)
    holder.start()
    assert written.wait(5)
    yield release
    release.set()
    holder.join()


def test_transaction_commits_at_its_end():
    with write_transaction():
        Pulse.objects.create(dispatcher="a", seen_at=1)
        assert elsewhere("SELECT * FROM broker_pulse") == []
    assert elsewhere("SELECT dispatcher FROM broker_pulse") == [("a",)]


def test_transaction_that_raises_leaves_nothing():
    with pytest.raises(ZeroDivisionError), write_transaction():
        Pulse.objects.create(dispatcher="a", seen_at=1)
        1 / 0  # noqa: B018
    assert not Pulse.objects.exists()
    assert not connection.in_atomic_block


def test_inner_transaction_may_fail_alone():
    with write_transaction():
        Pulse.objects.create(dispatcher="a", seen_at=1)
        with pytest.raises(ZeroDivisionError), write_transaction():
            Pulse.objects.create(dispatcher="b", seen_at=1)
            1 / 0  # noqa: B018
    assert [pulse.dispatcher for pulse in Pulse.objects.all()] == ["a"]


def test_transaction_that_is_marked_for_rollback_leaves_nothing():
    with write_transaction():
        Pulse.objects.create(dispatcher="a", seen_at=1)
        transaction.set_rollback(True)
    assert not Pulse.objects.exists()


def test_commit_that_fails_leaves_nothing_but_a_connection_that_works():
    with pytest.raises(IntegrityError), write_transaction():
        Pulse.objects.create(dispatcher="a", seen_at=1)
        Event.objects.create(message_id=1, time=1)  # of no message, which the commit finds out
    assert not connection.in_atomic_block
    with write_transaction():
        assert not Pulse.objects.exists()


def test_what_waits_for_the_commit_is_called_after_it():
    called = []
    with write_transaction():
        Pulse.objects.create(dispatcher="a", seen_at=1)
        transaction.on_commit(lambda: called.append(elsewhere("SELECT seen_at FROM broker_pulse")))
        assert not called
    assert called == [[(1,)]]
    with pytest.raises(ZeroDivisionError), write_transaction():
        transaction.on_commit(lambda: called.append("rolled back"))
        1 / 0  # noqa: B018
    with write_transaction():
        pass
    assert called == [[(1,)]]


def test_call_after_the_commit_that_raises_undoes_nothing():
    with pytest.raises(ZeroDivisionError), write_transaction():
        Pulse.objects.create(dispatcher="a", seen_at=1)
        transaction.on_commit(lambda: 1 / 0)
    assert not connection.in_atomic_block
    with write_transaction():
        assert Pulse.objects.exists()


def test_durable_transaction_cannot_be_an_inner_one():
    with write_transaction(), pytest.raises(RuntimeError, match="durable"):  # noqa: SIM117
        with transaction.atomic(durable=True):
            pass


@pytest.mark.parametrize("is_limited", [False, True], ids=["a command", "a server"])
def test_transaction_waits_for_another_process(release, monkeypatch, is_limited):
    forget_timeout(connection)  # another test's
    monkeypatch.setattr(outages, "_limited", is_limited)
    threading.Timer(0.1, release.set).start()
    with write_transaction():
        assert Pulse.objects.filter(dispatcher="a").update(seen_at=2) == (1 if ON_SQLITE else 0)
    assert release.is_set() or not ON_SQLITE


@sqlite_only
def test_transaction_gives_up_after_its_deadline(release):
    began = time.monotonic()
    with pytest.raises(OperationalError, match="locked"), write_transaction(lock_seconds=0.1):
        raise AssertionError("the lock was not to be had")
    assert 0.1 <= time.monotonic() - began < 5


@sqlite_only
def test_transaction_has_the_lock_from_its_beginning():
    with write_transaction(), pytest.raises(OperationalError, match="locked"):  # noqa: SIM117
        with another_cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 0")
            cursor.execute(INSERT)


@sqlite_only
def test_other_statements_wait_for_the_lock_as_ever_afterwards(release):
    with pytest.raises(OperationalError), write_transaction(lock_seconds=0.01):
        pass
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA busy_timeout").fetchone() == (20_000,)
        assert not transaction.get_connection().in_atomic_block


@sqlite_only
def test_other_transactions_wait_for_the_lock_and_the_disk_as_ever_afterwards():
    with write_transaction(flush=False):
        Pulse.objects.create(dispatcher="a", seen_at=1)
    with transaction.atomic(), connection.cursor() as cursor:
        assert cursor.execute("PRAGMA busy_timeout").fetchone() == (20_000,)
        assert cursor.execute("PRAGMA synchronous").fetchone() == (2,)


@sqlite_only
def test_only_a_commit_without_flush_does_not_wait_for_the_disk():
    """As SQLite's setting says, during the transaction and after it."""

    def synchronous() -> int:
        with connection.cursor() as cursor:
            return cursor.execute("PRAGMA synchronous").fetchone()[0]

    normal, full = 1, 2
    with write_transaction():
        assert synchronous() == full
    with write_transaction(flush=False):
        Pulse.objects.create(dispatcher="a", seen_at=1)
        assert synchronous() == normal
    assert synchronous() == full
    with pytest.raises(ZeroDivisionError), write_transaction(flush=False):
        1 / 0  # noqa: B018
    assert synchronous() == full
    assert Pulse.objects.exists()


@sqlite_only
def test_transaction_after_a_timeout_fails_at_once(monkeypatch):
    monkeypatch.setattr(outages, "_limited", True)
    monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], "timed_out_at", time.monotonic())
    with pytest.raises(outages.NoAnswer), write_transaction():
        raise AssertionError("a statement of this thread has just timed out")
    forget_timeout(connection)
    with transaction.atomic():
        assert not Pulse.objects.exists()
