"""A message's row, from its acceptance until it is deleted.

Publishing adds rows; claiming.py, settling.py and cancelling.py move them from state to state,
each by one conditional UPDATE. The states and their arrows are drawn in docs/queue.md.
"""

import functools
import json
from typing import Any

from django.db import models
from django.db.models import Q

from broker.clock import now_ms
from broker.ids import new_message_id
from groupcommit.raw import make_instance

type Row = tuple[Any, ...]


class State(models.TextChoices):
    """The states by the names of QStash's log. In CREATED and RETRY a message waits, in ACTIVE and
    CANCEL_REQUESTED a dispatcher has claimed it. ERROR is an event only; the others are final.
    """

    CREATED = "CREATED"
    ACTIVE = "ACTIVE"
    RETRY = "RETRY"
    ERROR = "ERROR"
    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    CANCELED = "CANCELED"


WAITING_STATES = (State.CREATED, State.RETRY)
CLAIMED_STATES = (State.ACTIVE, State.CANCEL_REQUESTED)
FINAL_STATES = (State.DELIVERED, State.FAILED, State.CANCELED)


class Message(models.Model):
    """What to send where, and how far it has come.

    `due_at` is the moment at which a dispatcher must look at this message next: its delivery
    time while it waits, the end of the lease during an attempt; null while it is in a lane and
    after its end. One small index over it serves every claim, however many messages have
    ended.
    """

    message_id = models.CharField(max_length=64, unique=True, default=new_message_id)
    account = models.CharField(max_length=64, default="site")
    created_at = models.BigIntegerField(default=now_ms)
    caller_ip = models.CharField(max_length=45, blank=True)

    # What to send.
    url = models.TextField()
    host = models.TextField(blank=True)
    path = models.TextField(blank=True)
    method = models.CharField(max_length=8, default="POST")
    header = models.JSONField(default=dict, help_text="{name: [value, …]}, as delivered")
    body = models.BinaryField(default=bytes)

    # How to send it.
    not_before = models.BigIntegerField()
    timeout_seconds = models.PositiveIntegerField(null=True)
    max_retries = models.PositiveIntegerField(default=3)
    retry_delay_expression = models.TextField(blank=True)
    flow_control = models.JSONField(default=dict, help_text="{parallelism, rate, period}")

    # Where to report: a URL, and the callback's publish options, {name: [value, …]}.
    callback = models.TextField(blank=True)
    callback_header = models.JSONField(default=dict)
    failure_callback = models.TextField(blank=True)
    failure_callback_header = models.JSONField(default=dict)

    # What it belongs to. Null, not "", keeps messages without a lane out of the lanes' indexes.
    queue_name = models.CharField(max_length=255, null=True)  # noqa: DJ001
    flow_control_key = models.CharField(max_length=255, null=True)  # noqa: DJ001
    schedule_id = models.CharField(max_length=255, blank=True)
    url_group = models.CharField(max_length=255, blank=True)
    endpoint_name = models.CharField(max_length=255, blank=True)
    labels = models.TextField(blank=True, help_text="`,one,two,`: found by `,one,`")
    redacted = models.JSONField(default=list, help_text="fields not to be shown")
    deduplication_key = models.CharField(max_length=300, blank=True)

    # How far it has come.
    state = models.CharField(max_length=16, choices=State, default=State.CREATED)
    due_at = models.BigIntegerField(null=True)
    claimed_by = models.CharField(max_length=40, blank=True)
    retried = models.PositiveIntegerField(default=0, help_text="attempts that have failed")
    expires_at = models.BigIntegerField(null=True, help_text="set once it is over")

    # 1 if it has a queue or a flow control key, else null.
    in_lanes = models.PositiveSmallIntegerField(null=True)
    # The lane it waits in, and its place there; the slot of its queue that it has (and passes to
    # its callbacks); the flow control key under which it is being delivered.
    lane = models.CharField(max_length=300, null=True)  # noqa: DJ001
    place = models.BigIntegerField(null=True)
    slot = models.BigIntegerField(null=True)
    runs_in = models.CharField(max_length=255, null=True)  # noqa: DJ001

    class Meta:
        indexes = [
            models.Index(fields=["due_at", "id"], condition=Q(due_at__isnull=False), name="due"),
            models.Index(
                fields=["in_lanes", "due_at", "id"],
                condition=Q(in_lanes__isnull=False),
                name="due_for_lanes",
            ),
            models.Index(
                fields=["expires_at"], condition=Q(expires_at__isnull=False), name="expired"
            ),
            models.Index(
                fields=["account", "lane", "place"],
                condition=Q(lane__isnull=False),
                name="in_line",
            ),
            models.Index(
                fields=["account", "queue_name", "slot"],
                condition=Q(slot__isnull=False),
                name="slots",
            ),
            models.Index(
                fields=["account", "runs_in"], condition=Q(runs_in__isnull=False), name="running"
            ),
            models.Index(
                fields=["account", "queue_name"],
                condition=Q(queue_name__isnull=False, expires_at__isnull=True),
                name="queued",
            ),
            models.Index(
                fields=["account", "flow_control_key"],
                condition=Q(flow_control_key__isnull=False, expires_at__isnull=True),
                name="limited",
            ),
            # For lists, newest first: of all messages, of a queue, a schedule, those with labels,
            # those that failed or were cancelled. The account is last, so that SQLite does not
            # take one of these where only the account is given, and a better one is there.
            models.Index(fields=["created_at", "id", "account"], name="messages_by_age"),
            models.Index(
                fields=["queue_name", "created_at", "id", "account"],
                condition=Q(queue_name__isnull=False),
                name="messages_of_queue",
            ),
            models.Index(
                fields=["schedule_id", "created_at", "id", "account"],
                condition=Q(schedule_id__gt=""),
                name="messages_of_schedule",
            ),
            models.Index(
                fields=["created_at", "id", "account", "labels"],
                condition=Q(labels__gt=""),
                name="labelled_messages",
            ),
            models.Index(
                fields=["state", "created_at", "id", "account"],
                condition=Q(state__in=["FAILED", "CANCELED"]),
                name="ended_badly",
            ),
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

    @property
    def label_list(self) -> list[str]:
        return self.labels.strip(",").split(",") if self.labels else []

    @property
    def has_lane(self) -> bool:
        """Whether a queue or a flow control key decides when it may be delivered."""
        return bool(self.queue_name or self.flow_control_key)

    @classmethod
    @functools.cache
    def columns(cls) -> list[str]:
        """Return the table's columns, `id` first."""
        return [str(field.column) for field in cls._meta.concrete_fields]

    @classmethod
    @functools.cache
    def json_columns(cls) -> frozenset[int]:
        """Return the positions of the columns with JSON."""
        fields = enumerate(cls._meta.concrete_fields)
        return frozenset(n for n, field in fields if isinstance(field, models.JSONField))

    @classmethod
    def from_row(cls, row: Row) -> "Message":
        """Make a message from its columns' values as the database returns them; more may follow."""
        values = list(row[: len(cls.columns())])
        for number in cls.json_columns():
            text = values[number]
            values[number] = {} if text == "{}" else json.loads(text)
        return make_instance(cls, cls.columns(), values)
