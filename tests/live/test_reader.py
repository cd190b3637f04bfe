import asyncio
import logging
import threading

import pytest
from django.db import DatabaseError, connection
from django.utils import timezone

from catcher.models import Entry
from groupcommit.writer import writer
from harness.waiting import until
from jobs.models import Job
from live.reader import Positions, Reader
from live.sources import Source, sources

pytestmark = pytest.mark.django_db(transaction=True)


async def woken(event, seconds=30):
    async with asyncio.timeout(seconds):
        await event.wait()
    event.clear()


async def test_watcher_of_a_changed_topic_is_woken(reader, changes):
    async with reader.watch(["job:1"]) as event:
        changes.topics = {"job:1"}
        await woken(event)


async def test_watcher_of_another_topic_sleeps_on(reader, changes):
    async with reader.watch(["job:1"]) as one, reader.watch(["job:2"]) as two:
        changes.topics = {"job:2"}
        await woken(two)
        assert not one.is_set()


async def test_all_watchers_of_a_topic_are_woken_by_one_look(reader, changes):
    async with reader.watch(["b", "c"]) as one, reader.watch(["b"]) as two:
        changes.topics = {"b"}
        await woken(one)
        assert two.is_set()


async def test_nothing_is_read_unless_somebody_watches(reader, changes):
    assert changes.looks == 0
    async with reader.watch(["b"]):
        assert changes.looks >= 1
    task = reader.task
    assert task is None
    await asyncio.sleep(0)
    looks = changes.looks
    await asyncio.sleep(0.05)
    assert changes.looks <= looks + 1  # one may have been on its way


async def test_next_watcher_starts_the_reader_again(reader, changes):
    async with reader.watch(["b"]):
        pass
    async with reader.watch(["b"]) as event:
        changes.topics = {"b"}
        await woken(event)


async def test_error_is_logged_once_and_everybody_is_woken_after_it(reader, changes, caplog):
    async with reader.watch(["b"]) as event:
        changes.error = DatabaseError("gone")
        looks = changes.looks
        await until(lambda: changes.looks > looks + 3)
        assert not event.is_set()
        changes.error = None
        await woken(event)
        changes.topics = {"b"}
        await woken(event)
    messages = [r.message for r in caplog.records if r.name == "live.reader"]
    assert messages == ["cannot read what has changed, trying again"]


async def test_page_opens_although_the_database_does_not_answer(reader, changes, caplog):
    changes.error = DatabaseError("gone")
    async with reader.watch(["b"]) as event:
        changes.error = None
        await woken(event)
    assert [r.levelno for r in caplog.records if r.name == "live.reader"] == [logging.ERROR]


async def test_stop_wakes_everybody_for_good(reader):
    async with reader.watch(["b"]) as one, reader.watch(["c"]) as two:
        reader.stop()
        assert one.is_set() and two.is_set()
        assert reader.stopped


def test_source_that_needs_no_commit_is_asked_when_it_is_due(changes):
    timed = Source(changes.read, every_seconds=1000)
    positions = Positions([timed])
    assert positions.due(committed=False) == [timed]
    positions.read([timed])
    assert positions.due(committed=True) == []


def test_source_is_asked_after_a_commit(changes):
    source = Source(changes.read)
    positions = Positions([source])
    assert positions.due(committed=False) == []
    assert positions.due(committed=True) == [source]


async def test_job_that_changes_wakes_its_page_and_its_owners(job):
    reader = Reader(sources)
    async with reader.watch([f"job:{job.id}"]) as page, reader.watch(["jobs:somebody"]) as home:
        await Job.objects.filter(id=job.id).aupdate(changed_at=timezone.now())
        await woken(page)
        await woken(home)


async def test_batch_of_the_writer_wakes_the_page_of_a_bin():
    reader = Reader(sources)
    async with reader.watch(["bin:b"]) as page:
        await writer.write(store, "b")
        await woken(page)


def store(names):
    Entry.objects.bulk_create([Entry(bin=name, method="GET", path="/") for name in names])
    return names


async def test_commit_of_another_connection_wakes_who_watches():
    """As another process would do it; not in the thread in which the reader reads."""

    def commit():
        Entry.objects.create(bin="elsewhere", method="GET", path="/")
        connection.close()

    reader = Reader(sources)
    async with reader.watch(["bin:elsewhere"]) as event:
        thread = threading.Thread(target=commit)
        thread.start()
        await woken(event)
        thread.join()
