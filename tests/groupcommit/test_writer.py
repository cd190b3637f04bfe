"""One commit for many writes, an answer for each, and only when it is durable."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, connections
from psycopg.errors import DeadlockDetected

from broker.models import Event, Pulse
from groupcommit import outages
from groupcommit.statements import insert_all, one_by_one
from groupcommit.updates import update_each
from groupcommit.writer import (
    SINGLE_STATEMENTS,
    LockedWrite,
    run_writes,
    single_statement,
    writer,
)
from harness.waiting import eventually
from tests.elsewhere import another_cursor, elsewhere

ON_POSTGRESQL = "postgresql" in settings.DATABASES["default"]["ENGINE"]
postgresql_only = pytest.mark.skipif(not ON_POSTGRESQL, reason="SQLite has no connection to cut")
pytestmark = pytest.mark.django_db(transaction=True)


class Pulses:
    """A write that stores a pulse for each name, and remembers what came together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, names: list[str]) -> list[str]:
        self.batches.append(names)
        if "bad" in names:
            raise ValueError("bad")
        insert_all([Pulse(dispatcher=name, seen_at=1) for name in names])
        return [name.upper() for name in names]


@one_by_one
def be_busy(events: tuple[threading.Event, threading.Event]) -> bool:
    busy, release = events
    busy.set()
    return release.wait(5)


@one_by_one
def log_of_nothing(_: None) -> None:
    """Fails at the commit only, where foreign keys are checked."""
    insert_all([Event(message_id=999_999, state="ACTIVE", time=1)])


@one_by_one
def thread_name(_: None) -> str:
    return threading.current_thread().name


@pytest.fixture
def pulses() -> Pulses:
    return Pulses()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Keeps the writer busy until it is set."""
    release = hold_writer()
    yield release
    release.set()


def hold_writer() -> threading.Event:
    busy, release = threading.Event(), threading.Event()
    writer.submit(be_busy, (busy, release))
    assert busy.wait(5)
    return release


def stored() -> set[str]:
    """What another process sees."""
    return {name for (name,) in elsewhere("SELECT dispatcher FROM broker_pulse")}


async def queued(*tasks: asyncio.Task) -> None:
    """Let tasks run up to where they wait."""
    await asyncio.sleep(0)


def test_write_is_durable_when_it_is_answered(pulses):
    assert writer.submit(pulses, "a").result(5) == "A"
    assert stored() == {"a"}


async def test_coroutine_waits_without_a_thread_of_its_own(pulses):
    assert await writer.write(pulses, "a") == "A"
    assert await asyncio.to_thread(stored) == {"a"}


async def test_everything_is_written_in_one_thread():
    assert set(await asyncio.gather(*[writer.write(thread_name, None) for _ in range(5)])) == {
        "writer"
    }


async def test_waiting_writes_are_one_batch(pulses, release):
    names = [f"{number:03}" for number in range(100)]
    writes = asyncio.gather(*[writer.write(pulses, name) for name in names])
    await queued()
    release.set()
    assert await writes == names
    assert pulses.batches == [names]


def test_threads_and_coroutines_share_a_batch(pulses, release):
    futures = [writer.submit(pulses, name) for name in "abc"]
    release.set()
    assert [future.result(5) for future in futures] == ["A", "B", "C"]
    assert len(pulses.batches) == 1


async def test_each_caller_gets_its_own_result(pulses, release):
    other = Pulses()
    writes = [writer.write((pulses, other)[n % 2], str(n)) for n in range(10)]
    answers = asyncio.gather(*writes)
    await queued()
    release.set()
    assert await answers == [str(n) for n in range(10)]
    assert (len(pulses.batches), len(other.batches)) == (1, 1)


async def test_failing_write_does_not_fail_those_beside_it(pulses, release):
    writes = asyncio.gather(
        *[writer.write(pulses, name) for name in ["a", "bad", "b"]], return_exceptions=True
    )
    await queued()
    release.set()
    first, failure, last = await writes
    assert (first, last, str(failure)) == ("A", "B", "bad")
    assert await asyncio.to_thread(stored) == {"a", "b"}


async def test_database_error_is_its_writers_alone(pulses, release):
    writes = asyncio.gather(
        *[writer.write(pulses, name) for name in ["a", "b", "a"]], return_exceptions=True
    )
    await queued()
    release.set()
    assert [type(result) for result in await writes] == [str, str, IntegrityError]


async def test_failing_write_leaves_nothing(pulses):
    with pytest.raises(ValueError, match="bad"):
        await writer.write(pulses, "bad")
    assert await writer.write(pulses, "good") == "GOOD"
    assert await asyncio.to_thread(stored) == {"good"}


async def test_commit_that_fails_is_no_success():
    with pytest.raises(IntegrityError):
        await writer.write(log_of_nothing, None)
    assert not await Event.objects.aexists()


async def test_commit_that_fails_spares_the_writes_beside_it(pulses, release):
    bad, good = writer.write(log_of_nothing, None), writer.write(pulses, "a")
    writes = asyncio.gather(bad, good, return_exceptions=True)
    await queued()
    release.set()
    assert [type(result) for result in await writes] == [IntegrityError, str]


async def test_write_with_too_few_results_is_an_error():
    def forgetful(arguments: list[int]) -> list[int]:
        return []

    with pytest.raises(ValueError, match="shorter"):
        await writer.write(forgetful, 1)


async def test_cancelled_caller_leaves_its_write_and_the_others_alone(pulses, release):
    impatient = asyncio.create_task(writer.write(pulses, "a"))
    patient = asyncio.create_task(writer.write(pulses, "b"))
    await queued()
    impatient.cancel()
    release.set()
    assert await patient == "B"
    assert impatient.cancelled()
    assert await asyncio.to_thread(stored) == {"a", "b"}


def test_caller_whose_loop_has_ended_does_no_harm(pulses, release):
    async def leave() -> None:
        writer_task = asyncio.create_task(writer.write(pulses, "a"))
        await queued()
        writer_task.cancel()

    asyncio.run(leave())
    release.set()
    assert writer.submit(pulses, "b").result(5) == "B"
    assert stored() == {"a", "b"}


@one_by_one
def synchronous(_: object) -> str:
    """How the commit will wait for the disk, after an update."""
    update_each(Pulse, [({"dispatcher": "a"}, {"in_flight": 1})])
    sql = "SHOW synchronous_commit" if ON_POSTGRESQL else "PRAGMA synchronous"
    with connection.cursor() as cursor:
        return str(cursor.execute(sql).fetchone()[0])


async def test_batch_is_flushed_if_one_of_its_writes_is_to_be(pulses):
    normal, full = ("off", "on") if ON_POSTGRESQL else ("1", "2")
    await writer.write(pulses, "a")
    assert await writer.write(synchronous, None, flush=False) == normal
    release = hold_writer()
    both = asyncio.gather(writer.write(synchronous, 1, flush=False), writer.write(synchronous, 2))
    await queued()
    release.set()
    assert await both == [full, full]


async def test_patient_writes_gather(pulses):
    writes = []
    for name in "abcdefghij":
        writes.append(asyncio.create_task(writer.write(pulses, name, patience=0.3)))
        await asyncio.sleep(0.005)  # ten that do not come together
    assert await asyncio.gather(*writes) == list("ABCDEFGHIJ")
    assert len(pulses.batches) <= 2  # the first may find the writer just woken


async def test_urgent_write_takes_the_patient_ones_along(pulses):
    began = time.monotonic()
    patient = asyncio.create_task(writer.write(pulses, "a", patience=30))
    await queued()
    assert await writer.write(pulses, "b") == "B"
    assert await patient == "A"
    assert time.monotonic() - began < 5


async def test_batch_has_a_limit_and_the_rest_follows(pulses, release):
    names = [f"{number:04}" for number in range(600)]
    writes = asyncio.gather(*[writer.write(pulses, name) for name in names])
    await queued()
    release.set()
    assert await writes == names
    assert [len(batch) for batch in pulses.batches] == [500, 100]


def test_lock_is_taken_before_anything_else_of_its_batch(release):
    steps = []

    def note_write(names: list[str]) -> list[str]:
        steps.append("write")
        return names

    def note_locked_write(names: list[str]) -> list[str]:
        steps.append("locked write")
        return names

    locked = LockedWrite(note_locked_write, lambda names: steps.append("lock"))
    futures = [writer.submit(note_write, "a"), writer.submit(locked, "b")]
    release.set()
    assert [future.result(5) for future in futures] == ["a", "b"]
    assert steps == ["lock", "write", "locked write"]


def test_locked_write_called_by_itself_takes_its_lock():
    steps = []
    locked = LockedWrite(
        lambda names: [steps.append(name) for name in names],
        lambda names: steps.append("lock"),
    )
    locked(["a", "b"])
    assert steps == ["lock", "a", "b"]


def test_victim_of_a_deadlock_runs_again():
    tries = []

    def deadlocked_once(names: list[str]) -> list[str]:
        tries.append(names)
        if len(tries) == 1:
            raise OperationalError from DeadlockDetected("as the driver says")
        return names

    assert writer.submit(deadlocked_once, "a").result(5) == "a"
    assert len(tries) == 2


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a process that answers requests, and wait very briefly."""
    monkeypatch.setattr(outages, "_limited", True)
    monkeypatch.setattr(outages, "ANSWER_SECONDS", 0.2)


async def test_caller_is_told_that_nothing_is_known_of_its_write(pulses, limited):
    busy, let_go = threading.Event(), threading.Event()
    under_way = asyncio.create_task(writer.write(be_busy, (busy, let_go)))
    await asyncio.to_thread(busy.wait, 5)
    waiting = asyncio.create_task(writer.write(pulses, "never begun"))
    for write in (under_way, waiting):
        with pytest.raises(outages.NoAnswer, match="not answered in time"):
            await write
    let_go.set()
    assert await asyncio.to_thread(lambda: writer.submit(pulses, "after").result(5)) == "AFTER"
    assert pulses.batches == [["after"]]


async def test_writer_goes_on_when_nobody_waits_any_more(pulses, release, limited):
    with pytest.raises(outages.NoAnswer):
        await writer.write(pulses, "never begun")
    release.set()
    await asyncio.to_thread(eventually, writer.pending.empty)
    assert await asyncio.to_thread(lambda: writer.submit(pulses, "after").result(5)) == "AFTER"
    assert pulses.batches == [["after"]]


def test_batch_that_the_database_has_not_taken_is_not_tried_one_by_one(release):
    tries = []

    def cannot(names: list[str]) -> list[str]:
        tries.append(names)
        raise OperationalError("disk is full")

    futures = [writer.submit(cannot, name) for name in "ab"]
    release.set()
    for future in futures:
        with pytest.raises(OperationalError, match="full"):
            future.result(5)
    assert tries == [["a", "b"]]


@postgresql_only
def test_batch_whose_connection_was_cut_before_its_commit_runs_again(pulses):
    tries = []

    def cut_once(names: list[str]) -> list[str]:
        tries.append(names)
        if len(tries) == 1:
            connection.connection.pgconn.finish()
        return pulses(names)

    assert writer.submit(cut_once, "a").result(5) == "A"
    assert len(tries) == 2
    assert stored() == {"a"}


@postgresql_only
def test_lost_answer_to_a_commit_is_told_and_not_tried_again(pulses, monkeypatch):
    def lose_answer(self: object) -> None:
        connection.connection.commit()
        connection.connection.pgconn.finish()
        raise OperationalError("server closed the connection")

    wrapper = type(connections["default"])
    monkeypatch.setattr(wrapper, "_commit", lose_answer)
    with pytest.raises(OperationalError, match="closed"):
        writer.submit(pulses, "a").result(5)
    monkeypatch.undo()
    assert pulses.batches == [["a"]]
    assert stored() == {"a"}


@pytest.fixture
def single(pulses) -> Iterator[Pulses]:
    """The write that is declared to be one statement."""
    yield single_statement(pulses)
    SINGLE_STATEMENTS.discard(pulses)


@postgresql_only
def test_single_statement_needs_no_transaction(single, release, monkeypatch):
    in_transaction = []
    monkeypatch.setattr(
        "groupcommit.writer.run_writes",
        lambda batch: in_transaction.append(connection.in_atomic_block) or run_writes(batch),
    )
    release.set()
    assert writer.submit(single, "a").result(5) == "A"
    assert in_transaction[-1] is False
    assert stored() == {"a"}
    with_others = hold_writer()
    futures = [writer.submit(single, name) for name in "bc"]
    with_others.set()
    assert [future.result(5) for future in futures] == ["B", "C"]
    assert in_transaction[-1] is True


@postgresql_only
def test_lost_answer_to_a_single_statement_is_told_and_not_tried_again():
    tries = []

    @single_statement
    def cut(names: list[str]) -> list[str]:
        tries.append(names)
        insert_all([Pulse(dispatcher=name, seen_at=1) for name in names])
        connection.connection.pgconn.finish()
        raise OperationalError("server closed the connection")

    with pytest.raises(OperationalError, match="closed"):
        writer.submit(cut, "a").result(5)
    SINGLE_STATEMENTS.discard(cut)
    assert tries == [["a"]]
    assert stored() == {"a"}


@postgresql_only
def test_single_statement_that_was_never_sent_is_tried_again(single, release, monkeypatch):
    wrapper, opened = type(connections["default"]), []

    def refuse_once(self: object) -> None:
        opened.append(self)
        if len(opened) == 1:
            raise OperationalError("connection refused")
        return ensure_connection(self)

    ensure_connection = wrapper.ensure_connection
    release.set()
    eventually(writer.pending.empty)
    monkeypatch.setattr(wrapper, "ensure_connection", refuse_once)
    assert writer.submit(single, "a").result(5) == "A"


@postgresql_only
def test_row_that_somebody_has_locked_fails_no_other_write(pulses, release, monkeypatch):
    monkeypatch.setattr(outages, "_limited", True)
    monkeypatch.setattr(outages, "STATEMENT_SECONDS", 0.5)
    monkeypatch.setattr("groupcommit.writer.BRIEFLY_SECONDS", 2)  # on a busy machine
    monkeypatch.setattr("groupcommit.writer.ALL_BRIEFLY_SECONDS", 5)
    Pulse.objects.create(dispatcher="locked", seen_at=1)

    @one_by_one
    def touch(name: str) -> int:
        return Pulse.objects.filter(dispatcher=name).update(seen_at=2)

    with another_cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SELECT 1 FROM broker_pulse WHERE dispatcher = 'locked' FOR UPDATE")
        try:
            locked, free = writer.submit(touch, "locked"), writer.submit(pulses, "free")
            release.set()
            assert free.result(10) == "FREE"
            with pytest.raises(OperationalError):
                locked.result(10)
        finally:
            cursor.execute("ROLLBACK")


def test_writer_outlives_whatever_goes_wrong():
    def too_few_results(names: list[str]) -> list[str]:
        return []

    with pytest.raises(ValueError, match="zip"):
        writer.submit(too_few_results, "a").result(5)
    assert writer.submit(lambda names: names, "b").result(5) == "b"
