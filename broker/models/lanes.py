"""Lanes: where messages wait that may not all be delivered at once.

A queue delivers its messages in order, a flow control key limits how many run at once and how
many start in a period. broker/lanes.py releases them; `due_at` is when it must look at a lane
next.
"""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from broker.clock import now_ms


class Lane(models.Model):
    """What a queue and a flow control key have in common.

    `last_place` is the place of the message that joined last. Taking a place locks the lane, so
    places are in the order of acceptance between processes, too.
    """

    kind: ClassVar[str]

    account = models.CharField(max_length=64)
    name = models.CharField(max_length=255)
    created_at = models.BigIntegerField(default=now_ms)
    updated_at = models.BigIntegerField(default=now_ms)
    paused = models.BooleanField(default=False)
    last_place = models.BigIntegerField(default=0)
    due_at = models.BigIntegerField(null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.key

    @property
    def key(self) -> str:
        """The value of `Message.lane` for messages that wait here."""
        return f"{self.kind}:{self.name}"


class Queue(Lane):
    """Messages in order, `parallelism` at once. A deleted queue is hidden until the messages in it
    have ended.
    """

    kind = "queue"

    parallelism = models.PositiveIntegerField(default=1)
    deleted = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "name"], name="one_queue")]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="due_queues")
        ]


class FlowControl(Lane):
    """At most `parallelism` attempts at once and `rate` starts per `period_seconds`; null
    where there is no limit. A window begins with the first start after the one before.
    """

    kind = "flow"

    parallelism = models.PositiveIntegerField(null=True)
    rate = models.PositiveIntegerField(null=True)
    period_seconds = models.PositiveIntegerField(default=1)
    pinned_parallelism = models.BooleanField(default=False)
    pinned_rate = models.BooleanField(default=False)
    window_started_at = models.BigIntegerField(default=0)
    window_count = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "name"], name="one_flow_control")]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="due_flows")
        ]

    def started(self, now: int) -> int:
        """Return how many have started in the present window."""
        period = 1000 * self.period_seconds
        # Another machine's clock may be a little behind; one that was set back by more than
        # a period must not leave the window open for as long.
        begun = self.window_started_at - period < now < self.window_started_at + period
        return self.window_count if begun else 0
