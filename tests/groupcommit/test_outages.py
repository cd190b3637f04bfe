"""Whose fault an error is, how it is told, and how little of it is logged."""

import sqlite3
import threading
from collections.abc import Iterator

import psycopg
import pytest
from django.db import (
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)
from psycopg import errors

from groupcommit import outages


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait as a process does that answers requests."""
    monkeypatch.setattr(outages, "_limited", True)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> outages.Log:
    monkeypatch.setattr(outages, "log", outages.Log())
    return outages.log


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def of_sqlite(statement: str) -> sqlite3.Error:
    """What SQLite says to a statement."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(statement)
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError(f"{statement} was executed")


def full() -> sqlite3.Error:
    """What SQLite says when there is no room."""
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count = 1")
    try:
        connection.execute("CREATE TABLE t (a)")
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError("there was room")


def no_database() -> sqlite3.Error:
    """What SQLite says to a file that is something else, in a class of its own."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(b"something else" * 100)
        connection.execute("SELECT * FROM sqlite_schema")
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError("it was read")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OperationalError("connection refused"), "it cannot be reached"),
        (OperationalError("FATAL: sorry, too many clients already"), "no connection left"),
        (InterfaceError("the connection is closed"), "it cannot be reached"),
        (psycopg.OperationalError("connection refused"), "it cannot be reached"),
        (caused(OperationalError(), errors.AdminShutdown()), "it cannot be reached"),
        (caused(OperationalError(), errors.DiskFull()), "its disk is full"),
        (caused(InternalError(), errors.ReadOnlySqlTransaction()), "it is read-only"),
        (caused(OperationalError(), errors.LockNotAvailable()), "it is locked"),
        (caused(OperationalError(), errors.QueryCanceled()), "it has not answered in time"),
        (caused(OperationalError(), full()), "its disk is full"),
        (caused(DatabaseError(), no_database()), "it cannot be reached"),
        (outages.NoAnswer("it is asleep"), "it is asleep"),
    ],
)
def test_outage_is_told_in_words_of_ours(error, words):
    assert outages.is_outage(error)
    assert outages.in_words(error).startswith("the database is not answering: ")
    assert words in outages.in_words(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        DatabaseError("malformed"),
        ProgrammingError("no such table"),
        caused(OperationalError(), of_sqlite("SELECT * FROM nothing")),
        caused(OperationalError(), errors.StatementTooComplex()),
        caused(InternalError(), errors.InFailedSqlTransaction()),
    ],
)
def test_error_of_ours_is_no_outage(error, log, caplog):
    assert not outages.is_outage(error)
    assert not outages.reported(error)
    assert caplog.text == ""


def test_one_line_a_second_says_how_many_were_left_out(log, caplog, monkeypatch):
    now = iter([100.0, 100.1, 100.9, 101.2])
    monkeypatch.setattr(outages.time, "monotonic", lambda: next(now))
    for _ in range(4):
        assert outages.reported(OperationalError("gone\nfor good"))
    assert [record.message for record in caplog.records] == ["database is not answering"] * 2
    assert [record.left_out for record in caplog.records] == [0, 2]
    assert caplog.records[0].error == "gone for good"
    assert not any(record.exc_info for record in caplog.records)


def test_end_is_logged_once(log, caplog, monkeypatch):
    now = iter([100.0, 100.5, 102.0, 103.0])
    monkeypatch.setattr(outages.time, "monotonic", lambda: next(now))
    caplog.set_level("INFO", "groupcommit.outages")
    outages.report(OperationalError("gone"))
    log.end()  # too soon: it may come and go
    log.end()
    log.end()
    ends = [record for record in caplog.records if record.message == "database answers again"]
    assert [record.after for record in ends] == [2.0]


def test_survived_outage_is_reported_and_other_errors_are_raised(log, caplog):
    with outages.survived():
        raise OperationalError("gone")
    with pytest.raises(ValueError, match="ours"), outages.survived():
        raise ValueError("ours")
    assert caplog.text.count("database is not answering") == 1


def test_whatever_answers_nobody_waits_for_long():
    assert outages.statement_seconds() is None
    assert outages.lock_seconds() == outages.connect_seconds() == 20


def test_request_can_be_answered_within_five_seconds(limited):
    assert outages.connect_seconds() + outages.statement_seconds() < 4.5
    assert outages.ANSWER_SECONDS < 4.5
    with outages.wait_at_most(0.2):
        assert outages.statement_seconds() == outages.lock_seconds() == 0.2


def test_thread_of_a_task_waits_as_long_as_it_takes(limited):
    found = []

    def task() -> None:
        outages.wait_patiently()
        found.append((outages.statement_seconds(), outages.lock_seconds()))

    thread = threading.Thread(target=task)
    thread.start()
    thread.join()
    assert found == [(None, 20)]
    assert outages.statement_seconds() == outages.STATEMENT_SECONDS


@pytest.fixture(autouse=True)
def no_limits_afterwards() -> Iterator[None]:
    yield
    outages._waiting.is_patient = False
