"""Group commit: one thread in each process runs many writes in one transaction.

Every step of a message's way is a write that must be durable before the next one: it is claimed,
a step of its job is noted, it is settled. A commit waits for a flush to disk, so a thousand
coroutines that each commit wait for a thousand flushes. Here their writes queue up instead: the
thread takes all that have gathered, runs them in one transaction, commits once, and only then
passes each caller its result.

A write is a function over a list: it gets the arguments of all its callers in a batch, and
returns a result for each. So a batch is a few statements, however many callers wait for it.
"""

import asyncio
import functools
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, Error, connections

from groupcommit import outages
from groupcommit.signals import batch_written
from groupcommit.transactions import write_transaction

logger = logging.getLogger(__name__)

type Write[A, R] = Callable[[list[A]], list[R]]

# The larger a batch was, the longer the next one may gather: a larger batch hardly costs more, and
# other processes get their turn at SQLite's one write lock. The next batch after a single write
# does not wait. With up to 50 ms, one dispatcher delivered 1,600 messages a second and not 2,400.
REST_SECONDS_PER_WRITE = 0.002
LONGEST_REST_SECONDS = 0.025
LARGEST_BATCH = 500
# The database driver releases the interpreter lock at every statement and has to get it back;
# beside a busy event loop that takes 5 ms each time, the interpreter's default.
# https://docs.python.org/3/library/sys.html#sys.setswitchinterval
SWITCH_SECONDS = 0.002
# https://www.postgresql.org/docs/current/errcodes-appendix.html
DEADLOCK = "40P01"
DEADLOCK_TRIES = 5
# After a batch has timed out waiting for a lock, each of its writes may wait this long, and all
# of them together this long.
BRIEFLY_SECONDS = 0.2
ALL_BRIEFLY_SECONDS = 1.0

SINGLE_STATEMENTS: set[Any] = set()


def single_statement[A, R](write: Write[A, R]) -> Write[A, R]:
    """Declare that a write changes the database by one statement if it has one argument. If what
    it does afterwards fails, the change remains.

    It then needs no transaction on PostgreSQL. With BEGIN and COMMIT, which are two more round
    trips, an idle small job ended 0.3 ms later, of 7.
    """
    SINGLE_STATEMENTS.add(write)
    return write


class LockedWrite[A, R]:
    """A write that needs a lock; `lock` gets the same arguments and may find it needs none.

    Called by itself, it takes the lock and writes. In a batch, the writer takes the locks of
    all writes before the first of them runs: a transaction that locks rows and then waits for
    this lock deadlocks with one that holds the lock and waits for the rows.
    """

    def __init__(self, write: Write[A, R], lock: Callable[[list[A]], None]) -> None:
        self.write, self.lock = write, lock
        functools.update_wrapper(self, write)

    def __call__(self, arguments: list[A]) -> list[R]:
        self.lock(arguments)
        return self.write(arguments)


class Pending(NamedTuple):
    """A queued write; its caller is a coroutine on `loop`, or a thread if that is None."""

    write: Write[Any, Any]
    argument: Any
    patience: float
    loop: asyncio.AbstractEventLoop | None
    future: Any
    flush: bool = True


class Writer:
    """Run writes in batches, on a thread that the first write starts.

    A write may run twice (once more by itself, if another one of its batch has failed), so it
    must do nothing but database work.
    """

    def __init__(self) -> None:
        self.pending: queue.SimpleQueue[Pending] = queue.SimpleQueue()
        self.urgent = threading.Event()
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def submit[A, R](self, write: Write[A, R], argument: A) -> Future[R]:
        """Queue a write; the future gets its result once it is durable, or its exception."""
        future: Future[R] = Future()
        self.put(Pending(write, argument, 0, None, future))
        return future

    async def write[A, R](
        self, write: Write[A, R], argument: A, patience: float = 0, flush: bool = True
    ) -> R:
        """Wait for a write without holding a thread.

        A write with `patience` lets others gather for so many seconds, or until one without
        patience is queued. Without `flush`, a power cut may undo it, and what is written after it
        and not flushed either; see `write_transaction`. Cancelling the caller does not undo a
        queued write.

        NoAnswer after 4 s in a process that answers requests. A write that has not begun by
        then never will; one that is under way may still be committed.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self.put(Pending(write, argument, patience, loop, future, flush))
        if not outages.is_limited():
            return await future
        timer = loop.call_later(outages.ANSWER_SECONDS, expire, future)
        try:
            return await future
        finally:
            timer.cancel()

    def put(self, pending: Pending) -> None:
        self.pending.put(pending)
        if not pending.patience:
            self.urgent.set()
        if self.thread is None:
            with self.lock:
                if self.thread is None:
                    sys.setswitchinterval(SWITCH_SECONDS)
                    self.thread = threading.Thread(target=self.run, name="writer", daemon=True)
                    self.thread.start()

    def run(self) -> None:
        """Commit one batch after the other, as long as the process runs."""
        while True:
            batch = [pending for pending in self.gather() if not is_expired(pending)]
            try:
                if batch:
                    commit(batch)
                    batch_written.send_robust(Writer, size=len(batch))
                connections[DEFAULT_DB_ALIAS].close_if_unusable_or_obsolete()
            except Exception as error:
                if not outages.reported(error):
                    logger.exception("writer failed, going on with the next batch")
                report([(pending, error) for pending in batch])
            rest_seconds = (len(batch) - 1) * REST_SECONDS_PER_WRITE
            if rest_seconds > 0:  # a batch is empty if nobody waited for it any longer
                time.sleep(min(rest_seconds, LONGEST_REST_SECONDS))

    def gather(self) -> list[Pending]:
        """Wait for a write, and return it with all that are queued behind it."""
        batch = [self.pending.get()]
        if batch[0].patience:
            self.urgent.wait(batch[0].patience)
        self.urgent.clear()
        while len(batch) < LARGEST_BATCH:
            try:
                batch.append(self.pending.get_nowait())
            except queue.Empty:
                break
        return batch


def expire(future: asyncio.Future[Any]) -> None:
    """Tell a caller that it is not known what becomes of its write."""
    if not future.done():
        future.set_exception(outages.NoAnswer("it has not answered in time"))


def is_expired(pending: Pending) -> bool:
    """Whether a caller has been told so; one that was cancelled has not."""
    future = pending.future
    return bool(future.done() and not future.cancelled())


def commit(batch: list[Pending], tries_left: int = DEADLOCK_TRIES) -> None:
    """Run a batch in one transaction; if it fails, each write in one of its own.

    A batch that PostgreSQL has chosen as the victim of a deadlock, or whose connection was cut
    before its commit, has changed nothing, and runs again. If it is not known whether it was
    committed, or the database does not answer, all callers are told so. It is never known of a
    single statement, once its connection has been taken.
    """
    answers: list[tuple[Pending, Any]] = []
    used = None
    by_itself = len(batch) == 1 and batch[0].write in SINGLE_STATEMENTS
    try:
        with write_transaction(flush=any(pending.flush for pending in batch), by_itself=by_itself):
            used = connections[DEFAULT_DB_ALIAS].connection
            answers = run_writes(batch)
    except Exception as error:
        never_sent = not answers and (used is None or not by_itself)
        if tries_left and getattr(error.__cause__, "sqlstate", "") == DEADLOCK:
            commit(batch, tries_left - 1)
        elif outages.is_outage(error):
            after_outage(batch, error, used, tries_left if never_sent else 0)
        elif len(batch) == 1:
            report([(batch[0], error)])
        else:
            if not isinstance(error, Error):
                logger.warning("write failed, running its batch one by one", exc_info=error)
            for pending in batch:
                commit([pending])
    else:
        if outages.log.lasting:
            outages.log.end()
        report(answers)


def run_writes(batch: list[Pending]) -> list[tuple[Pending, Any]]:
    """Run the writes of a batch, and return each with its result."""
    by_write: dict[Write[Any, Any], list[Pending]] = {}
    for pending in batch:
        by_write.setdefault(pending.write, []).append(pending)
    answers: list[tuple[Pending, Any]] = []
    for write, callers in by_write.items():
        if isinstance(write, LockedWrite):
            write.lock([caller.argument for caller in callers])
    for write, callers in by_write.items():
        run = write.write if isinstance(write, LockedWrite) else write
        results = run([caller.argument for caller in callers])
        answers += zip(callers, results, strict=True)
    return answers


def after_outage(batch: list[Pending], error: Exception, used: Any, tries_left: int) -> None:
    """Do what can be done for a batch that the database has not taken; `error` is its own.

    Somebody may have locked one row, or cut the connection that was `used`. Without tries the
    batch may have been committed.
    """
    database: Any = connections[DEFAULT_DB_ALIAS]
    if tries_left and outages.is_timeout(error):
        if len(batch) > 1 and database.vendor == "postgresql":
            commit_briefly(batch, error)
            return
    elif tries_left and database.vendor == "postgresql":
        database.close_if_unusable_or_obsolete()
        if used is None or used.closed:
            commit(batch, tries_left=0)
            return
    report([(pending, error) for pending in batch])


def commit_briefly(batch: list[Pending], error: Exception) -> None:
    """Run writes one by one, and none for long; `error` is for those that find no time."""
    ends_at = time.monotonic() + ALL_BRIEFLY_SECONDS
    for pending in batch:
        if time.monotonic() > ends_at:
            report([(pending, error)])
            continue
        connections[DEFAULT_DB_ALIAS].close_if_unusable_or_obsolete()
        with outages.wait_at_most(BRIEFLY_SECONDS):
            commit([pending], tries_left=0)


def report(answers: list[tuple[Pending, Any]]) -> None:
    """Pass each caller its result, with one call for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Any, Any]]] = {}
    for pending, result in answers:
        if pending.loop is None:
            resolve([(pending.future, result)])
        else:
            by_loop.setdefault(pending.loop, []).append((pending.future, result))
    for loop, results in by_loop.items():
        try:
            loop.call_soon_threadsafe(resolve, results)
        except RuntimeError:
            logger.info("write has no caller any more: its event loop is closed")


def resolve(results: Iterable[tuple[Any, Any]]) -> None:
    """Set results, or exceptions, on futures that are not cancelled."""
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)


writer = Writer()
