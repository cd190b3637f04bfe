"""Which queue carries the messages, and whether it lives: what every page says in its head.

No message passes here.
"""

import asyncio
import time
from typing import Any, NamedTuple

from django.db import DatabaseError
from django.http import HttpRequest
from django.tasks import default_task_backend

FRESH_SECONDS = 2.0


class QueueStatus(NamedTuple):
    """`alive` is None while it is not known: no dispatcher has run, and no message waits."""

    name: str
    alive: bool | None


class Memo:
    """The last answer of the queue, and when it was given."""

    def __init__(self) -> None:
        self.alive: bool | None = None
        self.asked_at = float("-inf")

    def refresh(self) -> None:
        """Ask the queue, if the last answer is old. Makes a query, so not on an event loop."""
        now = time.monotonic()
        if now - self.asked_at < FRESH_SECONDS:
            return
        self.asked_at = now
        try:
            self.alive = default_task_backend.is_alive()
        except DatabaseError:
            self.alive = None


memo = Memo()


def context_processor(request: HttpRequest) -> dict[str, Any]:
    """`queue` for every template. On an event loop it is as old as the last synchronous page."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        memo.refresh()
    return {"queue": QueueStatus(default_task_backend.name, memo.alive)}
