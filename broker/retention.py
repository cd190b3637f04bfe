"""Delete what is old: ended messages with their logs, dead letters, unused lanes.

The message has ended and its time of keeping is over. Each sweep deletes a limited number of
rows, found through an index, and the dispatcher sweeps again until nothing is left to delete.
What other apps have to delete, their own sweeps know: the setting SWEEPS names them.
https://upstash.com/docs/qstash/overall/pricing
"""

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from broker import lanes
from broker.clock import DAY_MS, now_ms
from broker.models import DeadLetter, Event, FlowControl, Message, Queue, State
from groupcommit.outages import reported
from groupcommit.statements import one_by_one
from groupcommit.writer import writer

logger = logging.getLogger(__name__)

AT_ONCE = 300
# How often to look for rows to delete, and how soon again while there are more.
SWEEP_SECONDS = 60.0
SWEEP_AGAIN_SECONDS = 0.1
# How long a sweep waits for other writes to commit with.
PATIENCE_SECONDS = 0.03


@functools.cache
def sweep_named(path: str) -> Any:
    """Another app's sweep as a write, from its import path.

    The function gets the time in unix ms, deletes a few hundred rows at most, and returns
    whether there may be more. It runs in a transaction that may hold up other writes.
    """
    return one_by_one(import_string(path))


async def keep_sweeping(clock: Callable[[], int] = now_ms) -> None:
    """Delete what is old, a little at a time, for as long as the process lives."""
    while True:
        more = await sweep_all(clock())
        await asyncio.sleep(SWEEP_AGAIN_SECONDS if more else SWEEP_SECONDS)


async def sweep_all(now: int) -> bool:
    """Run every sweep once; whether there may be more. One that fails holds up no other."""
    writes = [sweep, *map(sweep_named, settings.SWEEPS)]
    more = [await try_to(write, now) for write in writes]
    if not any(more):
        await try_to(sweep_lanes, now)
    return any(more)


async def try_to(write: Any, now: int) -> bool:
    """Run one sweep; whether there may be more."""
    try:
        return bool(await writer.write(write, now, PATIENCE_SECONDS))
    except Exception as error:
        if not reported(error):
            logger.exception("cannot delete what is old, trying again")
        return False


def kept_until(state: State, now: int) -> int:
    """Return until when to keep a message that ends now; a failed one must outlast its dead
    letter, which may be retried.
    """
    days: int = settings.BROKER_LOG_DAYS
    if state == State.FAILED:
        days = max(days, settings.BROKER_DEAD_LETTER_DAYS)
    return now + days * DAY_MS


@one_by_one
def sweep(now: int) -> bool:
    """Delete what is too old at `now` (unix ms); return whether there may be more."""
    buried_before = now - settings.BROKER_DEAD_LETTER_DAYS * DAY_MS
    letters = DeadLetter.objects.filter(failed_at__lt=buried_before).order_by("failed_at")
    old_letters = list(letters.values_list("id", flat=True)[:AT_ONCE])
    DeadLetter.objects.filter(id__in=old_letters).delete()
    expired = Message.objects.select_for_update(skip_locked=True).filter(expires_at__lte=now)
    old = list(expired.order_by("expires_at").values_list("id", flat=True)[:AT_ONCE])
    for model in (Event, DeadLetter):
        model._default_manager.filter(message_id__in=old)._raw_delete("default")
    Message.objects.filter(id__in=old)._raw_delete("default")
    return len(old) == AT_ONCE or len(old_letters) == AT_ONCE


@lanes.locked
@one_by_one
def sweep_lanes(now: int) -> None:
    """Delete the rows of deleted queues that are empty, and of keys unused for days."""
    unfinished = Message.objects.filter(expires_at__isnull=True)
    for queue in Queue.objects.filter(deleted=True)[:AT_ONCE]:
        if not unfinished.filter(account=queue.account, queue_name=queue.name).exists():
            queue.delete()
    idle = FlowControl.objects.filter(
        updated_at__lt=now - settings.BROKER_LOG_DAYS * DAY_MS,
        paused=False,
        pinned_parallelism=False,
        pinned_rate=False,
    )
    for flow in idle[:AT_ONCE]:
        if not unfinished.filter(account=flow.account, flow_control_key=flow.name).exists():
            flow.delete()
