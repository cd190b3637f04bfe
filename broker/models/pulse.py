"""Which dispatchers are alive, to tell why a message is not delivered."""

from collections.abc import Collection

from django.db import models
from django.db.models import Q

from broker.models.lanes import FlowControl, Queue
from broker.models.message import Message


class Pulse(models.Model):
    """When a dispatcher was last alive, renewed while its loop runs."""

    dispatcher = models.CharField(max_length=40, primary_key=True)
    seen_at = models.BigIntegerField()
    in_flight = models.PositiveIntegerField(default=0)

    def __str__(self) -> str:
        return self.dispatcher


def dispatcher_is_alive(now: int, patience_ms: int = 10_000) -> bool:
    """Return whether any dispatcher has shown a sign of life in the last 10 s."""
    return Pulse.objects.filter(seen_at__gt=now - patience_ms).exists()


def queue_is_stuck(now: int, patience_ms: int = 10_000) -> bool:
    """Return whether messages have been due for 10 s and no dispatcher is alive to claim them.

    A dispatcher that is full still renews its pulse, so a busy queue is not a stuck one.
    """
    return not dispatcher_is_alive(now, patience_ms) and any(
        model._default_manager.filter(due_at__lte=now - patience_ms).exists()
        for model in (Message, Queue, FlowControl)
    )


def remove_stale_pulses(now: int, names: Collection[str] = ()) -> None:
    """Delete the pulses of dispatchers that ended (`names`) or stopped an hour ago."""
    Pulse.objects.filter(Q(seen_at__lt=now - 3_600_000) | Q(dispatcher__in=names)).delete()
