"""Cancel messages: at once while they wait, after the attempt while they are delivered.

A message that waits becomes CANCELED here. One that is being delivered becomes
CANCEL_REQUESTED, and settling.py ends it when its attempt is over: DELIVERED if it was
accepted, CANCELED if not. Neither becomes a dead letter.
"""

from collections.abc import Collection

from broker import lanes, wakeup
from broker.clock import now_ms
from broker.models import WAITING_STATES, Message, State
from broker.models.log import add_line
from broker.retention import kept_until
from groupcommit.statements import one_by_one


@lanes.locked
@one_by_one
def cancel_now(messages: Collection[int]) -> int:
    """Cancel messages by primary key; return how many could still be cancelled."""
    return cancel(messages, now_ms())


def cancel(messages: Collection[int], now: int) -> int:
    """Do the same at a given moment (unix ms), in a transaction that has the lanes' lock."""
    chosen = Message.objects.filter(id__in=messages, state__in=[*WAITING_STATES, State.ACTIVE])
    states = dict(chosen.select_for_update().order_by("id").values_list("id", "state"))
    add_line(list(states), State.CANCEL_REQUESTED, now)
    end_canceled([pk for pk, state in states.items() if state != State.ACTIVE], now)
    chosen.filter(state=State.ACTIVE).update(state=State.CANCEL_REQUESTED)
    return len(states)


def end_canceled(messages: Collection[int], now: int) -> None:
    """End messages that wait, or whose attempt was lost after they had been cancelled."""
    if not messages:
        return
    ending = Message.objects.filter(
        id__in=messages, state__in=[*WAITING_STATES, State.CANCEL_REQUESTED]
    )
    fields = ("id", "account", "queue_name", "flow_control_key")
    laned = [message for message in ending.only(*fields) if message.has_lane]
    ending.update(
        state=State.CANCELED,
        due_at=None,
        lane=None,
        slot=None,
        runs_in=None,
        claimed_by="",
        expires_at=kept_until(State.CANCELED, now),
    )
    add_line(list(messages), State.CANCELED, now)
    if laned:
        lanes.mark_due(laned, now)
        wakeup.on_commit()
