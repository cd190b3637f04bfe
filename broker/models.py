"""Where messages rest between two steps: the tables of the embedded queue.

A publisher's message becomes a `Message` row; the dispatcher claims it, delivers it and
settles it, and each of those steps is one conditional UPDATE and one `Event`. Times are unix
milliseconds throughout, as on QStash's wire.
"""

import secrets
import string
import time
from collections.abc import Collection, Iterable
from typing import Any, Self

from django.db import connection, models
from django.db.models import F, Q

ALPHABET = string.ascii_letters + string.digits
DEDUPLICATION_WINDOW_MS = 10 * 60 * 1000


def now_ms() -> int:
    """The present moment in unix milliseconds."""
    return time.time_ns() // 1_000_000


def new_id(prefix: str, length: int = 28) -> str:
    """An id that cannot be guessed, such as `msg_4Xk…`."""
    return f"{prefix}_" + "".join(secrets.choice(ALPHABET) for _ in range(length))


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


WAITING = (State.CREATED, State.RETRY)


class MessageQuerySet(models.QuerySet["Message"]):
    def due(self, now: int) -> Self:
        """Messages to be delivered now: their time has come, or their claim has expired."""
        return self.filter(due_at__lte=now)

    def claim(self, dispatcher: str, now: int, lease_ms: int, limit: int) -> list["Message"]:
        """Take up to `limit` due messages for one dispatcher, until its lease ends.

        A message that another dispatcher holds can be taken once that claim has expired,
        because its holder is presumed dead. One UPDATE decides who gets it.
        """
        due = self.due(now).exclude(claimed_by=dispatcher).order_by("due_at", "id")
        if connection.features.has_select_for_update_skip_locked:
            due = due.select_for_update(skip_locked=True)
        before = {row["id"]: row for row in due.values("id", "state", "claimed_by")[:limit]}
        claimed: list[Message] = []
        for claim, ids in grouped(before.values()).items():
            changed = self.filter(id__in=ids, due_at__lte=now, claimed_by=claim).update(
                state=State.ACTIVE, claimed_by=dispatcher, due_at=now + lease_ms
            )
            if changed:
                claimed += self.filter(id__in=ids, claimed_by=dispatcher).order_by("id")
        Event.objects.bulk_create(claim_events(claimed, before, now))
        return claimed

    def renew(self, dispatcher: str, now: int, lease_ms: int) -> int:
        """Prolong every claim a dispatcher holds; how many those are."""
        return self.filter(state=State.ACTIVE, claimed_by=dispatcher).update(
            due_at=now + lease_ms
        )

    def give_back(self, dispatcher: str, now: int) -> int:
        """Return what a dispatcher will not finish: it is due again at once."""
        return self.filter(state=State.ACTIVE, claimed_by=dispatcher).update(
            state=State.RETRY, claimed_by="", due_at=now
        )


def grouped(rows: Iterable[dict[str, Any]]) -> dict[str, list[int]]:
    """The ids of rows, by who holds them."""
    ids: dict[str, list[int]] = {}
    for row in rows:
        ids.setdefault(row["claimed_by"], []).append(row["id"])
    return ids


def claim_events(
    claimed: Iterable["Message"], before: dict[int, dict[str, Any]], now: int
) -> Iterable["Event"]:
    """An ACTIVE event each; first an ERROR where the attempt before was lost."""
    for message in claimed:
        if before[message.id]["state"] == State.ACTIVE:
            lost = "The attempt was lost: its dispatcher stopped renewing its claim."
            yield Event(message=message, state=State.ERROR, time=now, error=lost)
        yield Event(message=message, state=State.ACTIVE, time=now)


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

    state = models.CharField(max_length=16, choices=State, default=State.CREATED)
    due_at = models.BigIntegerField(null=True)
    claimed_by = models.CharField(max_length=40, blank=True)
    retried = models.PositiveIntegerField(default=0, help_text="attempts that have failed")

    objects = MessageQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["due_at", "id"], condition=Q(due_at__isnull=False), name="due"),
        ]

    def __str__(self) -> str:
        return self.message_id

    def move(self, to: State, now: int, event: "Event", **fields: Any) -> bool:
        """End the attempt under way: one UPDATE, which only its claimant can make."""
        moved = Message.objects.filter(
            id=self.id, state=State.ACTIVE, claimed_by=self.claimed_by
        ).update(state=to, claimed_by="", **fields)
        if moved:
            event.message, event.time = self, now
            event.save(force_insert=True)
        return bool(moved)

    def deliver(self, now: int, event: "Event") -> bool:
        """ACTIVE to DELIVERED."""
        return self.move(State.DELIVERED, now, event, due_at=None)

    def retry(self, now: int, event: "Event", delay_ms: int) -> bool:
        """ACTIVE to RETRY, due after a delay."""
        event.next_delivery_time = now + delay_ms
        if not self.move(
            State.RETRY, now, event, due_at=now + delay_ms, retried=F("retried") + 1
        ):
            return False
        Event.objects.create(
            message=self, state=State.RETRY, time=now, next_delivery_time=now + delay_ms
        )
        return True

    def fail(self, now: int, event: "Event") -> "DeadLetter | None":
        """ACTIVE to FAILED: no attempt is left, or none can help. Leaves a dead letter."""
        if not self.move(State.FAILED, now, event, due_at=None):
            return None
        Event.objects.create(message=self, state=State.FAILED, time=now, error=event.error)
        return DeadLetter.objects.create(
            message=self,
            failed_at=now,
            response_status=event.response_status or 0,
            response_header=event.response_header,
            response_body=event.response_body,
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

    def __str__(self) -> str:
        return f"{self.state} {self.message_id}"


class DeadLetter(models.Model):
    """A message that no attempt could deliver, with the last answer it got."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="dead_letter")
    failed_at = models.BigIntegerField()
    response_status = models.PositiveIntegerField(help_text="0 if there was no answer")
    response_header = models.JSONField(default=dict)
    response_body = models.BinaryField(default=bytes)

    @property
    def dlq_id(self) -> str:
        """`<unix ms>-<seq>`, as QStash forms them."""
        return f"{self.failed_at}-{self.id}"

    def __str__(self) -> str:
        return self.dlq_id


class Deduplication(models.Model):
    """Which message a deduplication id stands for, until the window closes."""

    account = models.CharField(max_length=64)
    key = models.CharField(max_length=255)
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="+")
    expires_at = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "key"], name="one_per_key")]

    def __str__(self) -> str:
        return self.key


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
