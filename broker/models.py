"""Where messages rest between two steps: the tables of the embedded queue.

A publisher's message becomes a `Message` row; the dispatcher claims it, delivers it and
settles it, and each of those steps is one conditional UPDATE and one `Event`. Times are unix
milliseconds throughout, as on QStash's wire.
"""

import functools
import json
import secrets
import time
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Self

from django.db import DEFAULT_DB_ALIAS, connection, models
from django.db.models import Q

from groupcommit.statements import places, update_returning

DEDUPLICATION_WINDOW_MS = 10 * 60 * 1000


type Row = tuple[Any, ...]


def now_ms() -> int:
    """The present moment in unix milliseconds."""
    return time.time_ns() // 1_000_000


def new_id(prefix: str) -> str:
    """An id that cannot be guessed, such as `msg_0f3a…`: 128 random bits."""
    return f"{prefix}_{secrets.token_hex(16)}"


def new_message_id() -> str:
    return new_id("msg")


class State(models.TextChoices):
    """What QStash's log calls them. CREATED and RETRY wait, ACTIVE is being delivered;
    the other three are final.
    """

    CREATED = "CREATED"
    ACTIVE = "ACTIVE"
    RETRY = "RETRY"
    ERROR = "ERROR"  # an event only: an attempt failed
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


LOST = "the attempt was lost: its dispatcher stopped renewing its claim"


class MessageQuerySet(models.QuerySet["Message"]):
    def due(self, now: int) -> Self:
        """Messages to be delivered now: their time has come, or their claim has expired."""
        return self.filter(due_at__lte=now)

    def claim(self, dispatcher: str, now: int, lease_ms: int, limit: int) -> list[Row]:
        """Take up to `limit` due messages for one dispatcher, until its lease ends.

        A message that another dispatcher holds can be taken once that claim has expired,
        because its holder is presumed dead. One UPDATE decides who gets it. The answer is
        rows for `Message.from_row`, as the write lock should not wait for Python.
        """
        skip = " FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, state FROM broker_message WHERE due_at <= %s AND claimed_by <> %s"
                f" ORDER BY due_at, id LIMIT %s{skip}",
                [now, dispatcher, limit],
            )
            states = dict(cursor.fetchall())
            if not states:
                return []
            cursor.execute(
                "UPDATE broker_message SET state = 'ACTIVE', claimed_by = %s, due_at = %s"
                f" WHERE id IN {places(1, len(states))} AND due_at <= %s AND claimed_by <> %s"
                f" RETURNING {', '.join(Message.columns())}",
                [dispatcher, now + lease_ms, *states, now, dispatcher],
            )
            rows: list[Row] = cursor.fetchall()
        claimed = [row[0] for row in rows]
        lost = [message for message in claimed if states[message] == State.ACTIVE]
        Event.objects.log(lost, State.ERROR, now, LOST)
        Event.objects.log(claimed, State.ACTIVE, now)
        return rows

    def next_due_at(self, dispatcher: str, now: int) -> int | None:
        """When the next message will be due that a dispatcher does not hold itself."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT due_at FROM broker_message WHERE due_at > %s AND claimed_by <> %s"
                " ORDER BY due_at, id LIMIT 1",
                [now, dispatcher],
            )
            row = cursor.fetchone()
        return row[0] if row else None

    def renew(self, dispatcher: str, now: int, lease_ms: int) -> int:
        """Prolong every claim a dispatcher holds; how many those are."""
        return self.filter(state=State.ACTIVE, claimed_by=dispatcher).update(due_at=now + lease_ms)

    def give_back(self, dispatcher: str, now: int) -> int:
        """Return what a dispatcher will not finish: it is due again at once."""
        return self.filter(state=State.ACTIVE, claimed_by=dispatcher).update(
            state=State.RETRY, claimed_by="", due_at=now
        )


class Message(models.Model):
    """A message: what to send where, and how far it has come.

    `due_at` is the moment at which the dispatcher must look at this message next: its
    delivery time while it waits, the end of its claim while an attempt runs, null once it
    is over. One small index over it serves every claim, however many messages are finished.
    """

    message_id = models.CharField(max_length=64, unique=True, default=new_message_id)
    account = models.CharField(max_length=64, default="site")
    created_at = models.BigIntegerField(default=now_ms)
    caller_ip = models.CharField(max_length=45, blank=True)

    url = models.TextField()
    method = models.CharField(max_length=8, default="POST")
    header = models.JSONField(default=dict, help_text="{name: [value, …]}, as delivered")
    body = models.BinaryField(default=bytes)
    not_before = models.BigIntegerField()
    timeout_seconds = models.PositiveIntegerField(null=True)
    max_retries = models.PositiveIntegerField(default=3)
    retry_delay_expression = models.TextField(blank=True)
    failure_callback = models.TextField(blank=True)
    failure_callback_header = models.JSONField(
        default=dict, help_text="publish options of the failure callback, {name: value}"
    )
    labels = models.JSONField(default=list)
    deduplication_key = models.CharField(max_length=255, blank=True)

    state = models.CharField(max_length=16, choices=State, default=State.CREATED)
    due_at = models.BigIntegerField(null=True)
    claimed_by = models.CharField(max_length=40, blank=True)
    retried = models.PositiveIntegerField(default=0, help_text="attempts that have failed")

    objects = MessageQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["due_at", "id"], condition=Q(due_at__isnull=False), name="due"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "deduplication_key"],
                condition=~Q(deduplication_key=""),
                name="one_per_deduplication_key",
            )
        ]

    def __str__(self) -> str:
        return self.message_id

    @classmethod
    @functools.cache
    def columns(cls) -> list[str]:
        """The table's columns, `id` first."""
        return [str(field.column) for field in cls._meta.concrete_fields]

    @classmethod
    def from_row(cls, row: Row) -> "Message":
        """A message from its columns' values as the database gives them."""
        values = [
            json.loads(value) if isinstance(field, models.JSONField) else value
            for field, value in zip(cls._meta.concrete_fields, row, strict=True)
        ]
        return cls.from_db(DEFAULT_DB_ALIAS, [f.attname for f in cls._meta.concrete_fields], values)


class Verdict(NamedTuple):
    """Where an attempt leaves a message: DELIVERED, FAILED, or RETRY `delay_ms` from now."""

    message: Message
    state: State
    now: int
    delay_ms: int = 0


def settle(verdicts: list[Verdict]) -> list[bool]:
    """Move messages on from ACTIVE, in one UPDATE; False where the claim was lost."""
    moved = update_returning(
        "WITH verdict(id, dispatcher, attempt, state, due_at, retried) AS ({rows})"
        " UPDATE broker_message SET state = verdict.state, claimed_by = '',"
        " due_at = CASE WHEN verdict.state = 'RETRY' THEN verdict.due_at END,"
        " retried = verdict.retried FROM verdict WHERE broker_message.id = verdict.id"
        " AND broker_message.state = 'ACTIVE' AND claimed_by = verdict.dispatcher"
        " AND broker_message.retried = verdict.attempt"
        " RETURNING broker_message.id",
        [
            (
                verdict.message.id,
                verdict.message.claimed_by,
                verdict.message.retried,
                verdict.state,
                verdict.now + verdict.delay_ms,
                verdict.message.retried + (verdict.state == State.RETRY),
            )
            for verdict in verdicts
        ],
    )
    ids = {message_id for (message_id,) in moved}
    return [verdict.message.id in ids for verdict in verdicts]


class EventQuerySet(models.QuerySet["Event"]):
    def log(self, messages: Sequence[int], state: State, now: int, error: str = "") -> None:
        """Add the same line to the logs of several messages, without a row each in Python."""
        if messages:
            with connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO broker_event (message_id, state, time, error, response_header,"
                    " response_body) SELECT id, %s, %s, %s, '{}', %s FROM broker_message"
                    f" WHERE id IN {places(1, len(messages))} ORDER BY id",
                    [state, now, error, b"", *messages],
                )


class Event(models.Model):
    """One line of a message's log."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="events")
    state = models.CharField(max_length=16, choices=State)
    time = models.BigIntegerField()
    error = models.TextField(blank=True)
    response_status = models.PositiveIntegerField(null=True)
    response_header = models.JSONField(default=dict)
    response_body = models.BinaryField(default=bytes)
    next_delivery_time = models.BigIntegerField(null=True)

    objects = EventQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.state} {self.message_id}"


class DeadLetter(models.Model):
    """A message that no attempt could deliver, with the last answer it got."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="dead_letter")
    failed_at = models.BigIntegerField()
    response_status = models.PositiveIntegerField(help_text="0 if there was no answer")
    response_header = models.JSONField(default=dict)
    response_body = models.BinaryField(default=bytes)

    def __str__(self) -> str:
        return self.dlq_id

    @property
    def dlq_id(self) -> str:
        """`<unix ms>-<seq>`, as QStash forms them."""
        return f"{self.failed_at}-{self.id}"


class Pulse(models.Model):
    """A dispatcher's sign of life, renewed while its loop turns."""

    dispatcher = models.CharField(max_length=40, primary_key=True)
    seen_at = models.BigIntegerField()
    in_flight = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.dispatcher


def queue_is_stuck(now: int, patience_ms: int = 10_000) -> bool:
    """Whether messages have been due for 10 s and no dispatcher is alive to claim them.

    A dispatcher with its hands full still renews its pulse, so busy does not look dead.
    """
    overdue = Message.objects.due(now - patience_ms).exists()
    return overdue and not Pulse.objects.filter(seen_at__gt=now - patience_ms).exists()


def remove_stale_pulses(now: int, names: Collection[str] = ()) -> None:
    """Forget dispatchers that ended (`names`) or were silent for an hour."""
    Pulse.objects.filter(Q(seen_at__lt=now - 3_600_000) | Q(dispatcher__in=names)).delete()
