"""Change a queue: how many of its messages run at once, whether any may, whether it is there.

Its messages stand in line and lanes.py lets them go; it looks again as soon as a change here
has committed. A queue that is deleted takes no message with it: those that stand in it are
delivered, in order, and then it is gone.
"""

from typing import NamedTuple

from django.conf import settings
from django.db.models import QuerySet

from broker import lanes, wakeup
from broker.errors import LimitReached, NotFound
from broker.models import FlowControl, Message, Queue
from groupcommit.statements import insert_all, one_by_one


class Change(NamedTuple):
    """Whose queue, and what it shall be from now (unix ms) on; None leaves it as it is."""

    account: str
    name: str
    now: int
    parallelism: int | None = None
    paused: bool | None = None

    def queue(self) -> QuerySet[Queue]:
        return Queue.objects.filter(account=self.account, name=self.name)

    def values(self) -> dict[str, int]:
        """What lanes.py has to know: the new values, and that it should look at them now."""
        given = {"parallelism": self.parallelism, "paused": self.paused}
        changed = {name: value for name, value in given.items() if value is not None}
        return changed | {"updated_at": self.now, "due_at": self.now}


def visible(account: str) -> QuerySet[Queue]:
    """The queues an account has, oldest first."""
    return Queue.objects.filter(account=account, deleted=False).order_by("id")


def unfinished(account: str) -> QuerySet[Message]:
    """An account's messages that are not over yet, those that belong to a queue."""
    return Message.objects.filter(
        account=account, queue_name__isnull=False, expires_at__isnull=True
    )


@one_by_one
def upsert(change: Change) -> None:
    """Create a queue, or change it; LimitReached if the account has too many."""
    lanes.lock()
    new = {"parallelism": 1, "paused": False, "created_at": change.now} | change.values()
    made = insert_all([Queue(account=change.account, name=change.name, **new)], key="id")
    if not made:
        made = change.queue().filter(deleted=True).update(deleted=False, **new)
    if made and visible(change.account).count() > settings.BROKER_QUEUES:
        raise LimitReached(f"quota maxQueues exceeded: {settings.BROKER_QUEUES}")
    if not made:
        change.queue().update(**change.values())
    recall(change)
    wakeup.on_commit()


@one_by_one
def change_existing(change: Change) -> None:
    """Change a queue that is there; NotFound if it is not."""
    lanes.lock()
    if not change.queue().filter(deleted=False).update(**change.values()):
        raise NotFound(f"there is no queue {change.name!r}")
    recall(change)
    wakeup.on_commit()


def recall(change: Change) -> None:
    """When a queue pauses, those that went on to a flow control key's lane come back to it.

    They keep their slots, so they go first once it resumes.
    """
    if change.paused:
        ahead = unfinished(change.account).filter(
            queue_name=change.name, lane__startswith=f"{FlowControl.kind}:"
        )
        ahead.update(lane=Queue(name=change.name).key)


@one_by_one
def delete(change: Change) -> None:
    """Delete a queue, if it is there; with messages in it, it stays out of sight until they end."""
    lanes.lock()
    queue = change.queue().filter(deleted=False)
    if unfinished(change.account).filter(queue_name=change.name).exists():
        queue.update(deleted=True, paused=False, due_at=change.now, updated_at=change.now)
        wakeup.on_commit()
    else:
        queue.delete()
