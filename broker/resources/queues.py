"""Change a queue: how many of its messages run at once, whether any may, whether it is there.

Its messages stand in a lane and lanes.py lets them go; it looks again as soon as a change here
has committed. Deleting a queue deletes no message: those in it are delivered, in order, and
then the queue is removed.
"""

from typing import NamedTuple

from django.conf import settings
from django.db.models import F, QuerySet

from broker import wakeup
from broker.changes import refusable
from broker.errors import LimitReached, NotFound
from broker.models import FlowControl, Message, Queue, State
from broker.options import LARGEST_INTEGER
from groupcommit.statements import insert_all


class QueueChange(NamedTuple):
    """Whose queue, and its new values from `now` (unix ms) on; None leaves a value as it is."""

    account: str
    name: str
    now: int
    parallelism: int | None = None
    paused: bool | None = None

    def queue(self) -> QuerySet[Queue]:
        return Queue.objects.filter(account=self.account, name=self.name)

    def values(self) -> dict[str, int]:
        """The new values, and when lanes.py has to look at the queue: now."""
        given = {"parallelism": self.parallelism, "paused": self.paused}
        changed = {name: value for name, value in given.items() if value is not None}
        return changed | {"updated_at": self.now, "due_at": self.now}


def visible(account: str) -> QuerySet[Queue]:
    """The queues an account has, oldest first."""
    return Queue.objects.filter(account=account, deleted=False).order_by("id")


def unfinished(account: str) -> QuerySet[Message]:
    """An account's messages that belong to a queue and are not finished."""
    return Message.objects.filter(
        account=account, queue_name__isnull=False, expires_at__isnull=True
    )


@refusable
def upsert(change: QueueChange) -> None:
    """Create a queue, or change it; LimitReached if the account has too many."""
    new = {"parallelism": 1, "paused": False, "created_at": change.now} | change.values()
    made = bool(insert_all([Queue(account=change.account, name=change.name, **new)], key="id"))
    if not made:
        made = bool(change.queue().filter(deleted=True).update(deleted=False, **new))
    if made and visible(change.account).count() > settings.BROKER_QUEUES:
        raise LimitReached(f"quota maxQueues exceeded: {settings.BROKER_QUEUES}")
    apply(change)


@refusable
def change_existing(change: QueueChange) -> None:
    """Change a queue that is there; NotFound if it is not."""
    if not apply(change):
        raise NotFound(f"there is no queue {change.name!r}")


def apply(change: QueueChange) -> bool:
    """Change a queue and wake the dispatchers for it; return whether it is there."""
    more_at_once = change.queue().filter(parallelism__gt=change.parallelism or LARGEST_INTEGER)
    if change.paused or more_at_once.exists():
        send_back(change)
    wakeup.on_commit()
    return bool(change.queue().filter(deleted=False).update(**change.values()))


def send_back(change: QueueChange) -> None:
    """Put messages that went on to a flow control key's lane back into the queue.

    They were its first, and are again. Only those with an attempt behind them keep their slots.
    """
    ahead = unfinished(change.account).filter(
        queue_name=change.name, lane__startswith=f"{FlowControl.kind}:"
    )
    lane = Queue(name=change.name).key
    ahead.filter(state=State.CREATED, slot=F("id")).update(lane=lane, slot=None, place=0)
    ahead.update(lane=lane)


@refusable
def delete(change: QueueChange) -> None:
    """Delete a queue, if it is there; while it has messages it is only hidden."""
    queue = change.queue().filter(deleted=False)
    if unfinished(change.account).filter(queue_name=change.name).exists():
        queue.update(deleted=True, paused=False, due_at=change.now, updated_at=change.now)
        wakeup.on_commit()
    else:
        queue.delete()
