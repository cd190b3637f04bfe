"""Two instances that start at once migrate one after the other."""

import subprocess
import sys

import psycopg
import pytest

from harness.processes import ROOT, Site
from harness.waiting import eventually
from operations.management.commands.migrate_locked import LOCK

# How many have this lock, or wait for it; other tests take others, and this one in their databases.
HOLDERS = """
    SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
    WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND datname = current_database()
"""
HALVES = [LOCK >> 32, LOCK & 0xFFFFFFFF]


@pytest.fixture
def empty(tmp_path, cluster) -> Site:
    """A site whose PostgreSQL database has no tables yet."""
    return Site(tmp_path, cluster.new_database(template="template1"))


def start(site: Site) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "manage.py", "migrate_locked"],
        cwd=ROOT,
        env=site.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_at_once_both_succeed_and_one_finds_nothing_left_to_do(empty):
    both = [start(empty) for _ in range(2)]
    texts = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], texts
    assert sorted("No migrations to apply." in text for text in texts) == [False, True]


def test_lock_that_another_has_is_waited_for(empty):
    url = empty.environment["DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        process = start(empty)
        assert process.stdout.readline() == "Another process is migrating. Waiting for it.\n"
        waiting = f"{HOLDERS} AND NOT granted"
        eventually(lambda: other.execute(waiting, HALVES).fetchone() == (1,), what="the wait")
        assert other.execute("SELECT to_regclass('jobs_job')").fetchone() == (None,)
    text = process.communicate(timeout=120)[0]
    assert (process.returncode, "Applying jobs.0001" in text) == (0, True)


def test_lock_is_given_back_even_to_a_pool(db, transactional_db):
    from django.core.management import call_command
    from django.db import connection

    for _ in range(3):
        call_command("migrate_locked", verbosity=0)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(HOLDERS, HALVES)
            assert cursor.fetchone() == (0,)


def test_sqlite_is_migrated_without_a_lock(tmp_path):
    """That it also begins with nothing is seen where the image is built: tests/test_docker.py."""
    done = Site(tmp_path).prepare().manage("migrate_locked")
    assert done.returncode == 0, done.stderr
    assert "No migrations to apply." in done.stdout
