"""Let messages start that wait in a lane: a queue's in order, a flow control key's within limits.

A message with a queue or a flow control key is not claimed like any other: when its time has
come it joins its lane, first the queue's, then the key's. A dispatcher that claims from lanes
(claiming.py) has each release as many messages as it allows, the first in the lane first. A
queue gives a message a slot, which the message keeps through retries and passes to its
callbacks; a key counts the attempts in flight, and the starts in a window of time.

A transaction must have the lock for all that is done here. `enter` takes it; a write that the
writer runs is declared `locked` or `locked_for`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from broker.errors import LimitReached
from broker.models import CLAIMED_STATES, FlowControl, Message, Queue
from groupcommit.statements import insert_all, update_all, update_returning
from groupcommit.writer import LockedWrite, Write

# Identifies the lanes' lock in PostgreSQL; any number will do.
LOCK = 7_180_317
LANES_AT_ONCE = 20

type LaneKey = tuple[str, str]  # account, name


def lock() -> None:
    """Be the only transaction that moves messages in lanes; on SQLite every writer is."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def locked[A, R](write: Write[A, R]) -> LockedWrite[A, R]:
    """Have the lock taken before a write, and before anything else of its batch."""
    return LockedWrite(write, lambda arguments: lock())


def locked_for[A, R](
    messages_of: Callable[[Any], Iterable[Message]],
) -> Callable[[Write[A, R]], LockedWrite[A, R]]:
    """The same, but only if one of the messages in the write's arguments has a lane."""

    def lock_if_laned(arguments: list[A]) -> None:
        if any(message.has_lane for argument in arguments for message in messages_of(argument)):
            lock()

    return lambda write: LockedWrite(write, lock_if_laned)


def enter(messages: Iterable[Message], has_quota: bool = True) -> None:
    """Put new messages into their lanes, before they are stored; create lanes that are missing.

    A delayed message joins its lane when its time has come.
    """
    laned = [message for message in messages if message.has_lane]
    if not laned:
        return
    lock()
    make_lanes(laned, has_quota)
    for message in laned:
        message.in_lanes = 1
    ready = [message for message in laned if message.not_before <= message.created_at]
    for message in ready:
        message.due_at = None
        message.lane = first_lane(message.queue_name, message.flow_control_key)
    places = take_places([(m.account, str(m.lane)) for m in ready], laned[-1].created_at)
    for message, place in zip(ready, places, strict=True):
        message.place = place


def first_lane(queue_name: str | None, flow_control_key: str | None) -> str:
    """Return the lane a message joins first, as `Message.lane` names it."""
    return f"{Queue.kind}:{queue_name}" if queue_name else f"{FlowControl.kind}:{flow_control_key}"


def make_lanes(messages: list[Message], has_quota: bool) -> None:
    """Create queues and keys that are missing; a key gets the limits of the latest message.

    LimitReached if an account has more queues than its quota, if it `has_quota` here.
    """
    queues = dict.fromkeys((m.account, m.queue_name) for m in messages if m.queue_name)
    if queues:
        made = insert_all([Queue(account=a, name=name) for a, name in queues], key="id")
        revived = update_all(
            "WITH v(account, name) AS ({rows}) UPDATE broker_queue SET parallelism = 1,"
            " paused = FALSE, deleted = FALSE FROM v WHERE broker_queue.account = v.account"
            " AND broker_queue.name = v.name AND deleted",
            list(queues),
        )
        if has_quota and (made or revived):
            check_quota({account for account, _ in queues})
    flows = {(m.account, m.flow_control_key): m for m in messages if m.flow_control_key}
    if flows:
        insert_all([FlowControl(account=a, name=key) for a, key in flows], key="id")
        update_all(
            "WITH v(account, name, parallelism, rate, period, now) AS ({rows})"
            " UPDATE broker_flowcontrol SET updated_at = v.now,"
            " parallelism = CASE WHEN pinned_parallelism THEN broker_flowcontrol.parallelism"
            " ELSE NULLIF(v.parallelism, 0) END,"
            " rate = CASE WHEN pinned_rate THEN broker_flowcontrol.rate"
            " ELSE NULLIF(v.rate, 0) END,"
            " period_seconds = CASE WHEN pinned_rate THEN period_seconds ELSE v.period END"
            " FROM v WHERE broker_flowcontrol.account = v.account"
            " AND broker_flowcontrol.name = v.name",
            [
                (
                    *lane,
                    message.flow_control.get("parallelism", 0),
                    message.flow_control.get("rate", 0),
                    message.flow_control.get("period", 1),
                    message.created_at,
                )
                for lane, message in flows.items()
            ],
        )


def check_quota(accounts: set[str]) -> None:
    """LimitReached if one of these accounts has more queues than it may have."""
    for account in accounts:
        queues = Queue.objects.filter(account=account, deleted=False)
        if queues.count() > settings.BROKER_QUEUES:
            raise LimitReached(f"quota maxQueues exceeded: {settings.BROKER_QUEUES}")


def take_places(lanes: list[LaneKey], now: int) -> list[int]:
    """Take the next place of each lane (named as in `Message.lane`); return them in order.

    The lanes are due from now on.
    """
    counts: dict[LaneKey, int] = {}
    for lane in lanes:
        counts[lane] = counts.get(lane, 0) + 1
    last: dict[LaneKey, int] = {}
    for model in (Queue, FlowControl):
        rows = [
            (account, key.removeprefix(f"{model.kind}:"), count, now)
            for (account, key), count in counts.items()
            if key.startswith(f"{model.kind}:")
        ]
        table = model._meta.db_table
        updated = rows and update_returning(
            f"WITH v(account, name, count, now) AS ({{rows}}) UPDATE {table}"
            " SET last_place = last_place + v.count, due_at = v.now FROM v"
            f" WHERE {table}.account = v.account AND {table}.name = v.name"
            f" RETURNING {table}.account, {table}.name, last_place",
            rows,
        )
        for account, name, last_place in updated:
            lane = (account, f"{model.kind}:{name}")
            last[lane] = last_place - counts[lane]
    places = []
    for lane in lanes:
        last[lane] += 1
        places.append(last[lane])
    return places


def mark_due(messages: Iterable[Message], now: int) -> None:
    """Make the lanes of messages due, as something in them has changed."""
    messages = list(messages)
    for model, names in (
        (Queue, {(m.account, m.queue_name) for m in messages if m.queue_name}),
        (FlowControl, {(m.account, m.flow_control_key) for m in messages if m.flow_control_key}),
    ):
        if names:
            table = model._meta.db_table
            update_all(
                f"WITH v(account, name, now) AS ({{rows}}) UPDATE {table} SET due_at = v.now"
                f" FROM v WHERE {table}.account = v.account AND {table}.name = v.name",
                [(*lane, now) for lane in names],
            )


def release(now: int, room: int) -> list[int]:
    """Return which messages may start now, at most `room`, from lanes that are due."""
    released: list[int] = []
    for queue in Queue.objects.filter(due_at__lte=now).order_by("due_at", "id")[:LANES_AT_ONCE]:
        released += release_from_queue(queue, now, room - len(released))
    for flow in FlowControl.objects.filter(due_at__lte=now).order_by("due_at", "id")[
        :LANES_AT_ONCE
    ]:
        released += release_from_flow(flow, now, room - len(released))
    return released


def release_from_queue(queue: Queue, now: int, room: int) -> list[int]:
    """Release messages that have a slot, and others in order for the slots that are free.

    Those with a flow control key move on to its lane, the others may start.
    """
    chosen = [] if queue.paused else choose(queue, room)
    more = len(chosen) == room and not queue.paused
    Queue.objects.filter(pk=queue.pk).update(due_at=now if more else None)
    keyed = [(message, key) for message, key in chosen if key]
    places = take_places([(queue.account, first_lane(None, key)) for _, key in keyed], now)
    for (message, key), place in zip(keyed, places, strict=True):
        Message.objects.filter(pk=message, lane=queue.key).update(
            lane=first_lane(None, key), place=place, slot=Coalesce(F("slot"), F("id"))
        )
    return [message for message, key in chosen if not key]


def choose(queue: Queue, room: int) -> list[tuple[int, str | None]]:
    """Return the messages in a queue's lane whose turn it is, each with its flow control key.

    If the queue's parallelism has been lowered, more messages may have slots than it allows;
    then they take turns.
    """
    fields = ("id", "flow_control_key", "slot")
    waiting = Message.objects.filter(account=queue.account, lane=queue.key).order_by("place", "id")
    held = Message.objects.filter(account=queue.account, queue_name=queue.name, slot__isnull=False)
    left = Q(state__in=CLAIMED_STATES) | Q(lane__startswith=f"{FlowControl.kind}:")
    running = set(held.filter(left).values_list("slot", flat=True))
    going: list[tuple[int, str | None]] = []
    for message, key, slot in waiting.filter(slot__isnull=False).values_list(*fields):
        if len(going) < room and (slot in running or len(running) < queue.parallelism):
            running.add(slot)
            going.append((message, key))
    free = queue.parallelism - held.values("slot").distinct().count()
    newcomers = waiting.filter(slot__isnull=True).values_list(*fields[:2])
    return going + list(newcomers[: max(0, min(free, room - len(going)))])


def release_from_flow(flow: FlowControl, now: int, room: int) -> list[int]:
    """Release as many as the key's parallelism and rate allow, and count them in its window."""
    counted = flow.started(now)
    free = room
    if flow.parallelism is not None:
        running = Message.objects.filter(account=flow.account, runs_in=flow.name).count()
        free = min(free, flow.parallelism - running)
    if flow.rate is not None:
        free = min(free, flow.rate - counted)
    free = 0 if flow.paused else max(0, free)
    waiting = Message.objects.filter(account=flow.account, lane=flow.key).order_by("place", "id")
    found = list(waiting.values_list("id", flat=True)[: free + 1])
    going, more = found[:free], len(found) > free
    if going:
        if not counted:
            flow.window_started_at = now
        flow.window_count = counted + len(going)
    flow.due_at = None
    if more and not flow.paused:
        if free == room:
            flow.due_at = now
        elif flow.rate is not None and flow.rate <= counted + len(going):
            flow.due_at = flow.window_started_at + 1000 * flow.period_seconds
    flow.save(update_fields=["window_started_at", "window_count", "due_at"])
    return going
