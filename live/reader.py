"""One reader of changes for all pages that a process has open.

No message passes here. While somebody watches, the reader asks the sources what has changed,
and wakes those who watch it. A thousand pages that wait cost no more than one.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from asgiref.sync import sync_to_async
from django.db import close_old_connections

from groupcommit.outages import reported
from live.commits import commits
from live.sources import Source, sources

logger = logging.getLogger(__name__)

# On SQLite a look is one number in shared memory, elsewhere one short query for each source.
LOOK_SECONDS = 0.2
RETRY_SECONDS = 1.0
# When everybody is woken at once, a click must not wait until a thousand pages are rendered.
RENDERED_AT_ONCE = 16


class Reader:
    """Tells watchers of topics that these have changed, as long as there are watchers."""

    def __init__(self, sources: list[Source]) -> None:
        self.sources = sources
        self.watchers: dict[str, set[asyncio.Event]] = {}
        self.task: asyncio.Task[None] | None = None
        self.begun = asyncio.Event()
        self.turns = asyncio.Semaphore(RENDERED_AT_ONCE)
        self.stopped = False

    @asynccontextmanager
    async def watch(self, topics: Iterable[str]) -> AsyncIterator[asyncio.Event]:
        """An event that is set when one of the topics has changed, or the reader stops.

        Whatever is committed from now on sets it, so read what there is inside of this.
        """
        event, topics = asyncio.Event(), frozenset(topics)
        for topic in topics:
            self.watchers.setdefault(topic, set()).add(event)
        try:
            if self.task is None or self.task.done():
                self.begun = asyncio.Event()
                self.turns = asyncio.Semaphore(RENDERED_AT_ONCE)
                self.task = asyncio.create_task(self.run(self.begun))
            await self.begun.wait()
            yield event
        finally:
            self.unwatch(event, topics)

    def unwatch(self, event: asyncio.Event, topics: Iterable[str]) -> None:
        for topic in topics:
            self.watchers[topic].discard(event)
            if not self.watchers[topic]:
                del self.watchers[topic]
        if not self.watchers and self.task:
            self.task.cancel()
            self.task = None

    def wake(self, topics: Iterable[str]) -> None:
        """Set the events of those who watch one of these."""
        for topic in topics:
            for event in self.watchers.get(topic, ()):
                event.set()

    def stop(self) -> None:
        """Wake everybody for good: the process has been told to stop."""
        self.stopped = True
        self.wake(list(self.watchers))

    async def run(self, begun: asyncio.Event) -> None:
        """Read and wake until cancelled. `begun` is set once every source knows where to begin."""
        failed = False
        positions = Positions(self.sources)
        while True:
            try:
                with commits() as committed:
                    while True:
                        if due := positions.due(committed()):
                            changed = await sync_to_async(positions.read)(due)
                            # What a look has found before it failed is lost, so wake everybody.
                            self.wake(list(self.watchers) if failed else changed)
                            failed = False
                        begun.set()
                        await asyncio.sleep(LOOK_SECONDS)
            except Exception as error:
                if not reported(error) and not failed:
                    logger.exception("cannot read what has changed, trying again")
                failed = True
                begun.set()
            await asyncio.sleep(RETRY_SECONDS)


class Positions:
    """How far each source has been read."""

    def __init__(self, sources: list[Source]) -> None:
        self.since: dict[Source, Any] = dict.fromkeys(sources)
        self.due_at = dict.fromkeys(sources, 0.0)

    def due(self, committed: bool) -> list[Source]:
        """The sources whose turn it is, if something has been committed or not."""
        now = time.monotonic()
        return [
            source
            for source, at in self.due_at.items()
            if (now >= at if source.every_seconds else committed)
        ]

    def read(self, due: list[Source]) -> set[str]:
        """Ask sources; the topics that have changed. Makes queries, so not on an event loop."""
        changed: set[str] = set()
        try:
            for source in due:
                self.since[source], topics = source.read(self.since[source])
                self.due_at[source] = time.monotonic() + source.every_seconds
                changed |= topics
        finally:
            close_old_connections()
        return changed


reader = Reader(sources)
