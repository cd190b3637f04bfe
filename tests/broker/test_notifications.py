"""Whoever is not on duty on PostgreSQL finds what is late; a machine has a number of its own."""

import asyncio
import socket

import pytest
from django.db import connection
from psycopg import OperationalError

from broker import notifications
from broker.models import Queue
from broker.notifications import machine
from broker.wakeup import Watch
from tests.broker.messages import new_message
from tests.broker.test_wakeup import is_noticed, until, watching
from tests.elsewhere import elsewhere


@pytest.fixture
def on_postgresql(transactional_db) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no LISTEN")


@pytest.mark.usefixtures("on_postgresql")
async def test_late_message_is_noticed_by_who_is_not_on_duty():
    async with watching(), watching() as second:
        assert second.watch.is_relieved
        await new_message(due_at=1).asave()
        await is_noticed(second)


@pytest.mark.usefixtures("on_postgresql")
async def test_late_queue_is_noticed_by_whoever_is_not_on_duty():
    async with watching(), watching() as second:
        assert second.watch.is_relieved
        await Queue(account="site", name="q", due_at=1).asave()
        await is_noticed(second)


@pytest.mark.usefixtures("on_postgresql")
async def test_other_machine_has_a_duty_of_its_own(monkeypatch):
    async with watching() as here:
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        async with watching() as there:
            assert here.watch.on_duty and there.watch.on_duty
        monkeypatch.undo()


CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_locks WHERE classid = %s AND database =
    (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.mark.usefixtures("on_postgresql")
async def test_duty_ends_with_its_connection():
    noticed = asyncio.Event()
    first = Watch(noticed.set)
    running = asyncio.create_task(first.run())
    await noticed.wait()
    async with watching() as second:
        assert first.on_duty and second.watch.is_relieved
        assert await asyncio.to_thread(elsewhere, CUT, notifications.DUTY) == [(True,)]
        with pytest.raises(OperationalError):
            await running
        await until(lambda: second.watch.on_duty)
    assert not first.is_relieved


@pytest.mark.parametrize("name", ["", "web.1", "a-very-long-name" * 9])
def test_number_of_a_machine_has_32_bits(monkeypatch, name):
    monkeypatch.setattr(socket, "gethostname", lambda: name)
    assert -(2**31) <= machine() < 2**31
