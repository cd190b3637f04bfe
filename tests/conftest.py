"""What many tests need: signed requests, a dispatcher to run by hand, a skip with a reason."""

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from asgiref.sync import SyncToAsync
from django.conf import settings
from django.db import connections
from django.test import AsyncClient

import jobs.changes
from broker.signing import sign
from groupcommit import outages
from harness.nginx import nginx
from harness.postgresql import Cluster, binaries
from harness.processes import collect_static, migrate
from jobs.interface import new_job
from jobs.models import Job
from jobs.tasks import long_task
from logfields import NONE, log_fields

IN_CI = os.environ.get("CI") == "true"


def pytest_configure(config: pytest.Config) -> None:
    """Collect the static files once, before the workers start that share them.

    Let every Python program keep what it compiles: the suite starts some hundreds, and each would
    compile Django and the site again, which takes longer than all else that it does to start.
    """
    if not hasattr(config, "workerinput"):
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        sys.dont_write_bytecode = False
        collect_static()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the PostgreSQL server that the workers have shared."""
    factory: pytest.TempPathFactory | None = getattr(config, "_tmp_path_factory", None)
    if factory is not None and not hasattr(config, "workerinput"):
        note = factory.getbasetemp() / "cluster"
        if note.exists():
            Cluster.noted(note.read_text()).stop()


def skip_or_fail(reason: str) -> None:
    """Skip on a user's machine; in CI everything must be installed, so fail."""
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def waits_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that starts a server or a dispatcher in this process limits the waiting in it."""
    monkeypatch.setattr(outages, "_limited", False)


@pytest.fixture
def needs_nginx() -> None:
    """Skip a test that starts nginx where there is none."""
    if not nginx():
        skip_or_fail("nginx is not installed; enable with: apt-get install nginx-light")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Cluster:
    """A PostgreSQL server, and in it a database `site` with all tables and no rows.

    The first of pytest-xdist's workers to need it starts it for all.
    """
    if binaries() is None:
        skip_or_fail("PostgreSQL is not installed; enable with: apt-get install postgresql")
    ours = tmp_path_factory.getbasetemp()
    note = (ours if worker_id == "master" else ours.parent) / "cluster"
    with note.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if note.exists():
            return Cluster.noted(note.read_text())
        running = Cluster().start()
        note.write_text(running.note)
        with psycopg.connect(running.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE site")
        migrate(f"{running.url.rpartition('/')[0]}/site")
        return running


@pytest.fixture
def postgresql_url(cluster: Cluster) -> str:
    """An empty PostgreSQL database of the test's own, migrated."""
    return cluster.new_database(template="site")


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    tmp_path_factory: pytest.TempPathFactory, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """On SQLite, a file of this run's own, in a folder of its own.

    The writer's thread keeps its connection until the process ends, and with it the file's
    `-wal`, which the next database of the same name would take for its own.
    """
    if "sqlite" in settings.DATABASES["default"]["ENGINE"]:
        name = tmp_path_factory.mktemp("database") / "test.sqlite3"
        settings.DATABASES["default"]["TEST"]["NAME"] = name


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """At the end, close the connection of the thread in which async code queries.

    PostgreSQL would not drop the test's database while it is open.
    """
    yield
    SyncToAsync.single_thread_executor.submit(connections.close_all).result()


@pytest.fixture(autouse=True)
def forgetful() -> None:
    """What a process remembers of its queue and its last request is of another test."""
    jobs.changes.is_stuck.forget()
    log_fields.set(NONE)


@pytest.fixture
def job(transactional_db) -> Job:
    """A job that has been published and not yet begun."""
    job = new_job(long_task.using(owner="somebody"), ["http://target.test/"], {})
    job.status, job.messages = Job.Status.QUEUED, [{"id": "msg_1", "at": 1_700_000_000.0}]
    job.save()
    return job


@pytest.fixture
def deliver(async_client: AsyncClient) -> Callable:
    """POST a body to one of the signed views, signed as the queue signs it."""

    async def deliver(path: str, payload: object, retried: int = 0, **headers: str):
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        url = f"{settings.PUBLIC_URL}{path}"
        key = settings.QSTASH_CURRENT_SIGNING_KEY
        given = {
            "Upstash-Signature": sign(url, body, key, int(time.time())),
            "Upstash-Message-Id": "msg_1",
            "Upstash-Retried": str(retried),
        } | headers
        return await async_client.post(path, body, content_type="application/json", headers=given)

    return deliver
