"""Connections to PostgreSQL: cut, refused, used up, and statements that take too long."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import dj_database_url
import psycopg
import pytest
from django.db import NotSupportedError, OperationalError

from groupcommit import connections, outages
from groupcommit.outages import in_words, is_outage
from groupcommit.postgresql import base
from groupcommit.postgresql.base import DatabaseWrapper
from harness.processes import free_port
from harness.waiting import eventually

pytestmark = pytest.mark.django_db  # or pytest-django forbids any connection
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_limited", True)
    monkeypatch.setattr(base, "refusals", base.Refusals())


def wrapper_for(url: str, most: int = 2) -> DatabaseWrapper:
    parsed = dj_database_url.parse(url)
    missing = {"ATOMIC_REQUESTS": False, "AUTOCOMMIT": True, "TIME_ZONE": None}
    options = {"pool": {"min_size": 1, "max_size": most}, "connect_timeout": 2}
    options |= {"server_side_binding": True, "prepare_threshold": 5}
    return DatabaseWrapper({**parsed, **missing, "OPTIONS": options}, alias=url)


@pytest.fixture
def connection(postgresql_url: str) -> Iterator[DatabaseWrapper]:
    wrapper = wrapper_for(postgresql_url)
    yield wrapper
    wrapper.close()
    wrapper.close_pool()


@pytest.fixture
def other(postgresql_url: str) -> Iterator[psycopg.Connection]:
    """Somebody else's connection to the same database."""
    with psycopg.connect(postgresql_url, autocommit=True) as opened:
        yield opened


def test_statement_that_a_migration_has_changed_is_prepared_anew(connection, other):
    other.execute("CREATE TABLE thing (name varchar(5)); INSERT INTO thing VALUES ('a')")
    for _ in range(7):
        assert ask(connection, "SELECT name FROM thing") == "a"
    other.execute("ALTER TABLE thing ALTER COLUMN name TYPE varchar(9)")
    with pytest.raises(NotSupportedError, match="cached plan"):
        ask(connection, "SELECT name FROM thing")
    for _ in range(3):  # more often than there are connections in the pool
        connection.close_if_unusable_or_obsolete()  # as Django does before the next request
        assert ask(connection, "SELECT name FROM thing") == "a"


def ask(connection: DatabaseWrapper, sql: str = "SELECT 1") -> object:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


def test_connection_that_was_cut_in_the_pool_is_given_to_nobody(connection, other, limited):
    assert ask(connection) == 1
    connection.close()
    cut_all(other)
    assert ask(connection) == 1


def cut_all(other):
    """Cut all other connections, and wait until they are gone."""
    eventually(lambda: not other.execute(CUT).fetchall(), what="the connections' end")


def test_connection_that_is_cut_in_use_is_an_outage_and_the_next_one_works(
    connection, other, limited
):
    ask(connection)
    cut_all(other)
    with pytest.raises(OperationalError) as error:
        ask(connection)
    assert is_outage(error.value)
    connection.close_if_unusable_or_obsolete()
    assert ask(connection) == 1


def until_nothing_runs(other):
    """Wait until the server has ended every other statement in this database."""
    running = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND state = 'active'"
    )
    eventually(lambda: not other.execute(running).fetchall(), what="the statements' end")


def test_statement_that_takes_too_long_is_cancelled(connection, other, limited, monkeypatch):
    monkeypatch.setattr(outages, "STATEMENT_SECONDS", 0.3)
    began = time.monotonic()
    with pytest.raises(OperationalError) as error:
        ask(connection, "SELECT pg_sleep(20)")
    assert time.monotonic() - began < 5
    assert in_words(error.value).endswith("it has not answered in time")
    until_nothing_runs(other)


def test_write_that_waits_for_a_lock_leaves_nothing(connection, other, limited, monkeypatch):
    monkeypatch.setattr(outages, "STATEMENT_SECONDS", 0.3)
    with other.transaction():
        other.execute("LOCK TABLE broker_pulse IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(OperationalError):
            ask(connection, "INSERT INTO broker_pulse VALUES ('a', 1, 0) RETURNING 1")
    until_nothing_runs(other)
    assert other.execute("SELECT count(*) FROM broker_pulse").fetchone() == (0,)


def test_thread_of_a_task_may_take_its_time(connection, limited, monkeypatch):
    monkeypatch.setattr(outages, "STATEMENT_SECONDS", 0.1)
    monkeypatch.setattr(outages._waiting, "is_patient", True)
    assert ask(connection, "SELECT 1 FROM pg_sleep(0.4)") == 1


def test_server_that_refuses_is_not_waited_for(limited):
    connection = wrapper_for(f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(OperationalError, match="refused"):
            ask(connection)
    assert time.monotonic() - began < 5
    connection.close_pool()


def test_connections_that_are_all_lent_are_waited_for_briefly(
    connection, postgresql_url, limited, monkeypatch
):
    monkeypatch.setattr(outages, "CONNECT_SECONDS", 0.3)
    lent, release = threading.Barrier(3), threading.Event()

    def hold() -> None:
        mine = wrapper_for(postgresql_url)
        ask(mine)
        lent.wait(10)
        release.wait(10)
        mine.close()

    holders = [threading.Thread(target=hold) for _ in range(2)]
    for holder in holders:
        holder.start()
    lent.wait(10)
    with pytest.raises(OperationalError, match="no connection left for this process"):
        ask(connection)
    release.set()
    for holder in holders:
        holder.join()
    monkeypatch.setattr(connections, "PAUSE_SECONDS", 0)
    assert ask(connection) == 1


def test_tasks_leave_connections_for_the_writer_and_for_requests(
    postgresql_url, limited, monkeypatch
):
    """Two tasks, one after the other, where all tasks together may have one of three."""
    monkeypatch.setattr(base, "PATIENT_SECONDS", 0.2)
    monkeypatch.setattr(outages, "PAUSE_SECONDS", 0.0)
    first, second, own = (wrapper_for(postgresql_url, most=3) for _ in range(3))
    first.inc_thread_sharing()
    second.inc_thread_sharing()
    with ThreadPoolExecutor(1, initializer=outages.wait_patiently) as task:
        assert task.submit(ask, first).result(10) == 1
        with pytest.raises(OperationalError, match="no connection left for this process"):
            task.submit(ask, second).result(10)
        assert ask(own) == 1
        task.submit(first.close).result(10)
        assert task.submit(ask, second).result(10) == 1
        task.submit(second.close).result(10)
    own.close()
    own.close_pool()
