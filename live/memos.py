"""The answer to a question that every open page asks: kept for a moment, once in a process.

No message passes here. A query and its way to the thread and back take 0.4 ms; a thousand pages
that are told of steps twice a second would ask two thousand times.
"""

import time
from collections.abc import Callable

from asgiref.sync import sync_to_async


class Memo[T]:
    """What `ask()` has last returned. `ask` makes queries, and is called in a thread."""

    def __init__(self, ask: Callable[[], T], fresh_seconds: float) -> None:
        self.ask, self.fresh_seconds = ask, fresh_seconds
        self.answer: list[T] = []
        self.asked_at = 0.0

    async def get(self) -> T:
        """The answer, at most so many seconds old."""
        if not self.answer or time.monotonic() - self.asked_at > self.fresh_seconds:
            asked_at = time.monotonic()
            self.answer = [await sync_to_async(self.ask)()]
            self.asked_at = asked_at
        return self.answer[0]

    def forget(self) -> None:
        self.answer = []
