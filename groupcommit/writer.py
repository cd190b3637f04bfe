"""One thread a process that writes to the database, many writes to a commit.

Every step of a message's way is a write that must be durable before the next step: being
claimed, each of the ten requests noted, being settled. A commit costs a flush to disk, so a
thousand coroutines that each commit wait for a thousand flushes. Here they queue up instead:
the thread takes whatever has gathered, runs it in one transaction, commits once, and only
then answers every caller (group commit).
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from django.db import DEFAULT_DB_ALIAS, Error, connections, transaction

logger = logging.getLogger(__name__)

type Write[T] = Callable[[], T]

# While commits follow one another, wait this long between two: a larger batch costs
# little more, and other processes get their turn at SQLite's one write lock.
PAUSE_SECONDS = 0.004
LARGEST_BATCH = 500


class Writer:
    """Run writes in batches; start the thread with the first one.

    A write is a function without arguments that uses the ORM. It may run twice (alone,
    when another write of its batch has failed), so it must do nothing but database work.
    """

    def __init__(self) -> None:
        self.pending: queue.SimpleQueue[tuple[Write[Any], Future[Any]]] = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def submit[T](self, write: Write[T]) -> Future[T]:
        """Queue a write; its result, or its exception, comes once it is durable."""
        future: Future[T] = Future()
        self.pending.put((write, future))
        if self.thread is None:
            with self.lock:
                if self.thread is None:
                    self.thread = threading.Thread(target=self.run, name="writer", daemon=True)
                    self.thread.start()
        return future

    async def write[T](self, write: Write[T]) -> T:
        """Wait for a write without holding a thread.

        Cancelling the caller does not undo a write that has been queued.
        """
        return await asyncio.shield(asyncio.wrap_future(self.submit(write)))

    def run(self) -> None:
        """Commit batch after batch, for as long as the process lives."""
        while True:
            batch = self.gather()
            started = time.monotonic()
            commit(batch)
            connections[DEFAULT_DB_ALIAS].close_if_unusable_or_obsolete()
            if not self.pending.empty():
                time.sleep(max(0.0, PAUSE_SECONDS - (time.monotonic() - started)))

    def gather(self) -> list[tuple[Write[Any], Future[Any]]]:
        """Wait for a write, then take along all that have queued up behind it."""
        batch = [self.pending.get()]
        while len(batch) < LARGEST_BATCH:
            try:
                batch.append(self.pending.get_nowait())
            except queue.Empty:
                break
        return batch


def commit(batch: list[tuple[Write[Any], Future[Any]]]) -> None:
    """Run a batch in one transaction; if a write of it fails, each in one of its own."""
    try:
        with transaction.atomic():
            results = [write() for write, _ in batch]
    except Exception as error:
        if len(batch) > 1 and not isinstance(error, Error):
            logger.warning("a write failed, its batch runs again one by one", exc_info=error)
        if len(batch) == 1:
            batch[0][1].set_exception(error)
        else:
            for single in batch:
                commit([single])
    else:
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)


writer = Writer()
