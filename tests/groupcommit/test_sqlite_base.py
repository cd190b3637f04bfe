"""SQLite's lock is waited for as long as the process may, and no longer."""

import time
from pathlib import Path

import pytest
from django.db import OperationalError

from groupcommit import outages
from groupcommit.connections import disk
from groupcommit.sqlite.base import DatabaseWrapper

pytestmark = pytest.mark.django_db  # or pytest-django forbids any connection
SETTINGS = {
    **dict.fromkeys(["USER", "PASSWORD", "HOST", "PORT"], ""),
    "AUTOCOMMIT": True,
    "ATOMIC_REQUESTS": False,
    "CONN_HEALTH_CHECKS": False,
    "CONN_MAX_AGE": None,
    "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    "TIME_ZONE": None,
}


def opened(file: Path) -> DatabaseWrapper:
    connection = DatabaseWrapper({**SETTINGS, "NAME": str(file)})
    connection.ensure_connection()
    return connection


def test_lock_of_somebody_else_is_waited_for_briefly(tmp_path, monkeypatch):
    monkeypatch.setattr(outages, "_limited", True)
    monkeypatch.setattr(outages, "STATEMENT_SECONDS", 0.2)
    holder, other = opened(tmp_path / "db"), opened(tmp_path / "db")
    holder.connection.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(OperationalError, match="locked"), other.cursor() as cursor:
        cursor.execute("CREATE TABLE t (a)")
    assert 0.1 < time.monotonic() - began < 5
    for connection in (holder, other):
        connection.close()


def test_process_that_answers_nobody_waits_twenty_seconds(tmp_path):
    connection = opened(tmp_path / "db")
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA busy_timeout").fetchone() == (20_000,)
    connection.close()


def test_connection_is_opened_anew_after_the_disk_has_failed_somebody(tmp_path):
    connection = opened(tmp_path / "db")
    connection.close_if_unusable_or_obsolete()
    assert connection.connection
    disk.failures += 1
    connection.close_if_unusable_or_obsolete()
    assert connection.connection is None


def test_system_checks_need_no_database(tmp_path):
    connection = DatabaseWrapper({**SETTINGS, "NAME": str(tmp_path / "db")})
    assert connection.features.supports_json_field
    assert connection.connection is None
