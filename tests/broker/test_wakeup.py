"""Dispatchers are woken by commits: of their own process directly, of others by the database."""

import asyncio
from collections.abc import Iterator

import pytest
from django.db import connection, transaction

from broker import wakeup
from groupcommit.statements import one_by_one
from groupcommit.writer import writer
from tests.elsewhere import elsewhere


@pytest.fixture
def calls() -> Iterator[list[str]]:
    """What a listener has had called after commits."""
    heard: list[str] = []

    def listener() -> wakeup.Callback:
        return lambda: heard.append("woken")

    wakeup.listen(listener)
    yield heard
    wakeup.unlisten(listener)


@one_by_one
def wake(_: None) -> None:
    wakeup.on_commit()


def test_listener_is_called_after_the_commit(calls, transactional_db):
    with transaction.atomic():
        wakeup.on_commit()
        assert not calls
    assert calls == ["woken"]


def test_listener_is_not_called_after_a_rollback(calls, transactional_db):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        wakeup.on_commit()
        1 / 0  # noqa: B018
    assert not calls


def test_listener_that_left_is_not_called(calls, transactional_db):
    def leaver() -> wakeup.Callback:
        return lambda: calls.append("left")

    wakeup.listen(leaver)
    wakeup.unlisten(leaver)
    wakeup.on_commit()
    assert calls == ["woken"]


async def test_listener_hears_of_writes_in_the_writers_thread(calls, transactional_db):
    await writer.write(wake, None)
    assert calls == ["woken"]


def commit() -> None:
    """What a publisher in another process does to the database."""
    elsewhere("INSERT INTO broker_pulse VALUES ('other', 1, 0)")
    if connection.vendor == "postgresql":
        elsewhere(f"NOTIFY {wakeup.CHANNEL}")


@pytest.fixture
async def changed(transactional_db):
    """Set when the watch notices something; the first look has been taken."""
    event = asyncio.Event()
    watch = asyncio.create_task(wakeup.watch(event.set))
    async with asyncio.timeout(5):
        await event.wait()
    event.clear()
    yield event
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


async def test_commit_of_another_process_is_noticed(changed):
    await asyncio.to_thread(commit)
    async with asyncio.timeout(1):
        await changed.wait()


async def test_nothing_is_noticed_when_nothing_happens(changed):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3 * wakeup.LOOK_SECONDS):
            await changed.wait()
