"""Delete what is old: ended messages with their logs, dead letters, unused lanes.

The message has ended and its time of keeping is over. Each sweep deletes a limited number of
rows, found through an index, and the dispatcher sweeps again until nothing is left to delete.
https://upstash.com/docs/qstash/overall/pricing
"""

from django.conf import settings

from broker import lanes
from broker.clock import DAY_MS
from broker.models import DeadLetter, Event, FlowControl, Message, Queue, State
from groupcommit.statements import one_by_one

AT_ONCE = 300


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
