"""Which queue carries the messages, and whether it lives: what every page says in its head.

No message passes here.
"""

import asyncio
import time
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.db import DatabaseError
from django.http import HttpRequest
from django.tasks import default_task_backend
from django.template.loader import render_to_string
from django.utils.functional import SimpleLazyObject

from jobs.hosted import HostedQueue

FRESH_SECONDS = 2.0
TOPIC = "queue"


class QueueStatus(NamedTuple):
    """`alive` is None while it is not known: no dispatcher has run, and no message waits.

    Hosted QStash never says whether it lives.
    """

    name: str
    alive: bool | None

    @property
    def word(self) -> str:
        if self.alive is None:
            return "" if self.name == HostedQueue.name else "not known"
        return "running" if self.alive else "not running"


class Memo:
    """The last answer of the queue, and when it was given."""

    def __init__(self) -> None:
        self.alive: bool | None = None
        self.asked_at = float("-inf")

    def is_fresh(self) -> bool:
        return time.monotonic() - self.asked_at < FRESH_SECONDS

    def refresh(self) -> None:
        """Ask the queue, if the last answer is old. Makes a query, so not on an event loop."""
        if self.is_fresh():
            return
        self.asked_at = time.monotonic()
        try:
            self.alive = default_task_backend.is_alive()
        except DatabaseError:
            self.alive = None


memo = Memo()


def context_processor(request: HttpRequest) -> dict[str, Any]:
    """`queue` for every template; the queue is asked only if the template shows it."""
    return {"queue": SimpleLazyObject(status)}


def status() -> QueueStatus:
    """The queue's status. On an event loop it is as old as the last synchronous page."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        memo.refresh()
    return QueueStatus(default_task_backend.name, memo.alive)


def read_changes(since: bool | None) -> tuple[bool | None, set[str]]:
    """A source of changes for open pages (live/sources.py); it keeps the memo fresh as well."""
    memo.refresh()
    return memo.alive, {TOPIC} if memo.alive is not since else set()


async def version() -> str:
    """How the status looks on a page."""
    if not memo.is_fresh():  # with open streams it is: `read_changes` sees to that
        await sync_to_async(memo.refresh)()
    return QueueStatus(default_task_backend.name, memo.alive).word


def render() -> str:
    """The status as it replaces the one on an open page."""
    context = {"queue": QueueStatus(default_task_backend.name, memo.alive), "swap": True}
    return render_to_string("components/queue.html", context)
