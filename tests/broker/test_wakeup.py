"""Dispatchers are woken by commits: of their own process directly, of others by the database."""

import asyncio
import contextlib
import errno
import fcntl
import os
import sqlite3
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from django.db import connection, transaction

from broker import wakeup
from broker.notifications import CHANNEL
from broker.publishing import store_lists
from groupcommit.statements import one_by_one
from groupcommit.writer import writer
from harness.waiting import until
from tests.broker.messages import new_message
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
        elsewhere(f"NOTIFY {CHANNEL}")


@asynccontextmanager
async def watching(
    cpu_seconds: Callable[[], float] = lambda: 0.0, is_full: Callable[[], bool] = lambda: False
) -> AsyncIterator["Watched"]:
    """A watch that has taken its first look; its process uses as much CPU as it is told."""
    noticed = asyncio.Event()
    watch = wakeup.Watch(noticed.set, is_full, cpu_seconds)
    running = asyncio.create_task(watch.run())
    async with asyncio.timeout(5):
        await noticed.wait()
    noticed.clear()
    try:
        yield Watched(watch, noticed)
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


class Watched(NamedTuple):
    watch: wakeup.Watch
    noticed: asyncio.Event


@pytest.fixture
async def changed(transactional_db):
    """Set when the watch notices something."""
    async with watching() as watched:
        yield watched.noticed


async def test_commit_of_another_process_is_noticed(changed):
    await asyncio.to_thread(commit)
    async with asyncio.timeout(1):
        await changed.wait()


async def test_published_message_is_noticed(changed):
    await writer.write(store_lists, [new_message()])
    async with asyncio.timeout(1):
        await changed.wait()


async def test_nothing_is_noticed_when_nothing_happens(changed):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3 * wakeup.LOOK_SECONDS):
            await changed.wait()


def busy() -> Callable[[], float]:
    """The CPU seconds of a process that needs two cores."""
    return lambda: 2 * time.monotonic()


@pytest.fixture
def file(transactional_db, tmp_path, monkeypatch) -> Path:
    """The file of a database on SQLite, empty, beside which there may be a pipe."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL needs no pipe")
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "db.sqlite3"))
    sqlite3.connect(tmp_path / "db.sqlite3").close()
    return tmp_path / "db.sqlite3"


@pytest.fixture
def place(request: pytest.FixtureRequest) -> None:
    """A place for a pipe on SQLite, or PostgreSQL."""
    request.getfixturevalue("file" if connection.vendor == "sqlite" else "transactional_db")


async def wake_the_one_on_duty() -> None:
    """Do what a publisher of another process does, but for its commit."""
    if connection.vendor == "sqlite":
        wakeup.ring()
    else:
        await asyncio.to_thread(elsewhere, f"NOTIFY {CHANNEL}")


async def is_noticed(watched: Watched) -> None:
    async with asyncio.timeout(5):
        await watched.noticed.wait()


@pytest.mark.usefixtures("place")
class TestDuty:
    """One dispatcher of a machine is on duty."""

    async def test_one_on_duty_is_woken_and_no_other(self):
        async with watching() as first, watching() as second:
            assert (first.watch.on_duty, second.watch.on_duty) == (True, False)
            assert (first.watch.is_relieved, second.watch.is_relieved) == (False, True)
            await wake_the_one_on_duty()
            await is_noticed(first)
            assert not second.noticed.is_set()

    async def test_duty_passes_on_when_a_watch_ends(self):
        async with AsyncExitStack() as first:
            await first.enter_async_context(watching())
            async with watching() as second:
                assert not second.watch.on_duty
                await first.aclose()
                await until(lambda: second.watch.on_duty)
                assert not second.watch.is_relieved
                await is_noticed(second)  # what the first was woken for, but did not claim
                second.noticed.clear()
                await wake_the_one_on_duty()
                await is_noticed(second)

    async def test_busy_process_is_relieved(self):
        async with watching(cpu_seconds=busy()) as first, watching() as second:
            await until(lambda: second.watch.on_duty)
            assert not first.watch.on_duty
            await until(lambda: first.watch.is_relieved)
            second.noticed.clear()
            await wake_the_one_on_duty()
            await is_noticed(second)

    async def test_busy_process_goes_on_if_there_is_no_other(self):
        async with watching(cpu_seconds=busy()) as alone:
            for on_duty in (False, True, False, True):
                await until(lambda on_duty=on_duty: alone.watch.on_duty == on_duty)
                assert not alone.watch.is_relieved
            alone.noticed.clear()
            await wake_the_one_on_duty()
            await is_noticed(alone)

    async def test_full_dispatcher_leaves_the_duty_until_it_has_room(self):
        full = threading.Event()
        async with watching(is_full=full.is_set) as first:
            full.set()
            await until(lambda: not first.watch.on_duty)
            async with watching() as second:
                assert second.watch.on_duty
            full.clear()
            await until(lambda: first.watch.on_duty)


class Looks:
    """The CPU seconds of an idle process, which each look asks for once."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> float:
        self.count += 1
        return 0.0

    async def more(self) -> None:
        """Wait until a look has begun and ended after this."""
        enough = self.count + 2
        await until(lambda: self.count >= enough)


def change(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as other, other:
        other.execute("CREATE TABLE IF NOT EXISTS a (b)")
        other.execute("INSERT INTO a VALUES (1)")


async def test_change_after_a_ring_does_not_wake_the_one_on_duty_at_once(file, monkeypatch):
    monkeypatch.setattr(wakeup, "LATE_MS", 60_000)
    looks = Looks()
    async with watching(looks) as watched:
        wakeup.ring()
        await is_noticed(watched)
        watched.noticed.clear()
        change(file)
        await looks.more()
        assert not watched.noticed.is_set()
        watched.watch.ignores_until = 0.0  # as if the time had passed
        await is_noticed(watched)


async def test_change_after_a_ring_is_noticed_in_the_end(file, monkeypatch):
    monkeypatch.setattr(wakeup, "LATE_MS", 50)
    async with watching() as watched:
        wakeup.ring()
        await is_noticed(watched)
        watched.noticed.clear()
        change(file)
        await is_noticed(watched)


async def test_changes_without_a_ring_wake_the_one_on_duty_each_time(file, monkeypatch):
    monkeypatch.setattr(wakeup, "LATE_MS", 60_000)
    async with watching() as watched:
        for _ in range(3):
            change(file)
            await is_noticed(watched)
            watched.noticed.clear()


async def test_every_ring_wakes_the_one_on_duty(file, monkeypatch):
    monkeypatch.setattr(wakeup, "LATE_MS", 60_000)
    async with watching() as watched:
        for _ in range(3):
            wakeup.ring()
            await is_noticed(watched)
            watched.noticed.clear()


async def test_changes_wake_the_relieved_only_now_and_then(file, monkeypatch):
    monkeypatch.setattr(wakeup, "LATE_MS", 60_000)
    looks = Looks()
    async with watching(), watching(looks) as relieved:
        change(file)
        await looks.more()
        assert not relieved.noticed.is_set()  # it was woken by its first look
        relieved.watch.ignores_until = 0.0
        await is_noticed(relieved)


async def test_pipe_is_for_its_owner_only(file):
    async with watching():
        assert stat.filemode(os.stat(wakeup.pipe()).st_mode) == "prw-------"


async def test_ring_that_nobody_hears_is_no_error(file):
    wakeup.ring()
    async with watching():
        pass
    wakeup.ring()  # the pipe is there, and nobody reads it


async def test_rings_that_nobody_reads_do_not_block(file):
    os.mkfifo(wakeup.pipe())
    reader = os.open(wakeup.pipe(), os.O_RDWR | os.O_NONBLOCK)
    for _ in range(70_000):  # more than a pipe holds
        wakeup.ring()
    os.close(reader)


async def test_place_without_pipes_is_looked_at(file):
    os.mkdir(wakeup.pipe())  # so there can be no pipe of this name
    async with watching() as watched:
        assert watched.watch.on_duty
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE a (b)")
        async with asyncio.timeout(5):
            await watched.noticed.wait()
        other.close()


async def test_system_that_cannot_lock_a_pipe_is_looked_at(file, monkeypatch):
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    async with watching() as one, watching() as other:
        assert one.watch.on_duty and other.watch.on_duty
        assert not one.watch.is_relieved


async def test_watch_that_is_not_on_duty_leaves_no_reader_behind(file):
    """uvloop aborts the process for a reader of a file that has been closed."""
    uvloop = pytest.importorskip("uvloop")

    async def watch_and_end() -> None:
        async with watching() as first, watching(cpu_seconds=busy()) as second:
            first.watch.leave_duty(first.watch.descriptor)
            assert not second.watch.on_duty
        await asyncio.sleep(0.05)  # uvloop only looks at its files when it waits

    with ThreadPoolExecutor(1) as pool:
        pool.submit(uvloop.run, watch_and_end()).result()
