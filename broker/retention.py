"""Forget what is old: finished messages with their logs, dead letters, idle lanes.

The message is over and nobody will ask for it any more. Each sweep deletes a bounded number of
rows, found through an index, and the dispatcher sweeps again until nothing is left to do.
https://upstash.com/docs/qstash/overall/pricing
"""

from django.conf import settings

from broker import lanes
from broker.clock import DAY_MS
from broker.models import DeadLetter, Event, FlowControl, Message, Queue, State
from groupcommit.statements import one_by_one

AT_ONCE = 300


def kept_until(state: State, now: int) -> int:
    """Until when a message that has just ended is kept; one that has failed at least as long
    as its dead letter, so that it can be retried.
    """
    days: int = settings.BROKER_LOG_DAYS
    if state == State.FAILED:
        days = max(days, settings.BROKER_DEAD_LETTER_DAYS)
    return now + days * DAY_MS


@one_by_one
def sweep(now: int) -> bool:
    """Delete what has outlived its days by now (unix ms); whether there may be more."""
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
    """Forget deleted queues that are empty, and keys that nobody has used for days."""
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
