"""Readers and streams of the tests' own, so that nothing is left for the next test."""

import threading
from collections.abc import AsyncIterator

import pytest

from live.reader import Reader
from live.sources import Source


class Changes:
    """A source that a test feeds: it names the topics that were put in."""

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.error: Exception | None = None
        self.looks = 0
        self.looked = threading.Event()

    def read(self, since: int | None) -> tuple[int, set[str]]:
        self.looks += 1
        self.looked.set()
        if self.error:
            raise self.error
        topics, self.topics = self.topics, set()
        return (since or 0) + 1, topics if since else set()


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
async def reader(changes: Changes, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Reader]:
    """A reader that looks all the time, whether or not something was committed."""
    monkeypatch.setattr("live.reader.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("live.reader.RETRY_SECONDS", 0.01)
    reader = Reader([Source(changes.read, every_seconds=0.001)])
    yield reader
    assert reader.watchers == {}
    assert reader.task is None
