"""Signs of life of the dispatchers, for whoever wonders why a message does not move."""

from collections.abc import Collection

from django.db import models
from django.db.models import Q

from broker.models.lanes import FlowControl, Queue
from broker.models.message import Message


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
    overdue = any(
        model._default_manager.filter(due_at__lte=now - patience_ms).exists()
        for model in (Message, Queue, FlowControl)
    )
    return overdue and not Pulse.objects.filter(seen_at__gt=now - patience_ms).exists()


def remove_stale_pulses(now: int, names: Collection[str] = ()) -> None:
    """Forget dispatchers that ended (`names`) or were silent for an hour."""
    Pulse.objects.filter(Q(seen_at__lt=now - 3_600_000) | Q(dispatcher__in=names)).delete()
