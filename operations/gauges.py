"""What the database knows, as gauges that are read when Prometheus asks.

No message passes here. Every query follows an index and stops at a number of rows, so that it stays
fast however many there are; a gauge that stands there means "that many or more".
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from django.apps import apps
from django.db import DatabaseError, connection
from django.db.models import BooleanField, Count, Min, Q, QuerySet, Sum
from django.db.models.expressions import RawSQL
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from broker.clock import now_ms
from broker.models import (
    CLAIMED_STATES,
    WAITING_STATES,
    DeadLetter,
    FlowControl,
    Message,
    Pulse,
    Queue,
    State,
)

# Where an index alone tells, and where each row must be read: unfinished messages, jobs.
MOST_COUNTED, MOST_READ = 100_000, 20_000
# The condition of an index, as SQLite recognizes it: with its values in the text.
ENDED_BADLY = RawSQL(  # noqa: S611  a constant
    "broker_message.state IN ('FAILED', 'CANCELED')", [], output_field=BooleanField()
)
# A dispatcher that has shown no sign of life for so long is not counted.
PATIENCE_MS = 10_000
# Several who ask within this time share one look at the database.
FRESH_SECONDS = 2.0


def count(rows: QuerySet[Any]) -> int:
    """How many rows, up to MOST_COUNTED."""
    return rows.order_by().values("pk")[:MOST_COUNTED].count()


def by_value(rows: QuerySet[Any], field: str, values: list[str], most: int) -> dict[str, int]:
    """How many of the first rows, up to `most`, have which of a field's values."""
    counts = {f"with_{v}": Count("pk", filter=Q(**{field: v})) for v in values}
    found = rows.values("pk", field)[:most].aggregate(**counts)
    return {value: found[f"with_{value}"] for value in values}


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def family(name: str, text: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    """One gauge for each value of a label."""
    metric = GaugeMetricFamily(name, text, labels=[label])
    for word, number in values.items():
        metric.add_metric([word.lower()], number)
    return metric


def messages_by_state() -> dict[str, int]:
    """How many messages are in which state."""
    unfinished = [state.value for state in (*WAITING_STATES, *CLAIMED_STATES)]
    found = dict.fromkeys(unfinished, 0)
    # Those that are not over: by the index of what is due, or of the lanes they wait in.
    for rows in (
        Message.objects.filter(due_at__isnull=False).order_by("due_at", "id"),
        Message.objects.filter(due_at__isnull=True, lane__isnull=False),
    ):
        for state, number in by_value(rows, "state", unfinished, MOST_READ).items():
            found[state] += number
    badly = [State.FAILED.value, State.CANCELED.value]
    found |= by_value(Message.objects.filter(ENDED_BADLY), "state", badly, MOST_COUNTED)
    over = count(Message.objects.filter(expires_at__isnull=False))
    ended_badly = 0 if over == MOST_COUNTED else found["FAILED"] + found["CANCELED"]
    return found | {"DELIVERED": over - ended_badly}


def queue_gauges(now: int) -> Iterator[GaugeMetricFamily]:
    """The embedded queue's gauges at a moment (unix ms)."""
    states = messages_by_state()
    yield family("queue_messages", "Messages that are kept, by state.", "state", states)
    letters = count(DeadLetter.objects.all())
    yield gauge("queue_dead_letters", "Messages that no attempt could deliver.", letters)
    due = count(Message.objects.filter(due_at__lte=now))
    yield gauge("queue_due_messages", "Messages that a dispatcher may claim now.", due)
    since = [
        model._default_manager.filter(due_at__lte=now).aggregate(first=Min("due_at"))["first"]
        for model in (Message, Queue, FlowControl)
    ]
    age = max([now - moment for moment in since if moment is not None], default=0) / 1000
    yield gauge("queue_oldest_due_seconds", "For how long the oldest of them has been due.", age)
    alive = Pulse.objects.filter(seen_at__gt=now - PATIENCE_MS)
    seen = alive.aggregate(number=Count("pk"), held=Sum("in_flight"))
    yield gauge("queue_dispatchers", "Dispatchers that are alive.", seen["number"])
    text = "Messages that dispatchers are delivering, as of their last sign of life."
    yield gauge("queue_in_flight_messages", text, seen["held"] or 0)


def job_gauges() -> Iterator[GaugeMetricFamily]:
    """The jobs by status, of those that have changed last."""
    from jobs.models import Job

    newest = Job.objects.order_by("-changed_at")
    found = by_value(newest, "status", [status.value for status in Job.Status], MOST_READ)
    yield family("site_jobs", "Jobs by status, of the 20,000 that changed last.", "status", found)


class DatabaseCollector(Collector):
    """All gauges; if the database does not answer, only that."""

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.read_at, self.known = float("-inf"), [gauge("site_database_up", "", 0)]

    def collect(self) -> list[GaugeMetricFamily]:
        with self.lock:
            if time.monotonic() - self.read_at >= FRESH_SECONDS:
                self.known = self.read()
                self.read_at = time.monotonic()
            return self.known

    def read(self) -> list[GaugeMetricFamily]:
        text = "1 if the database answers, else 0."
        try:
            found = list(queue_gauges(self.clock()))
            if apps.is_installed("jobs"):
                found += job_gauges()
        except DatabaseError:
            return [gauge("site_database_up", text, 0)]
        finally:
            connection.close_if_unusable_or_obsolete()
        return [gauge("site_database_up", text, 1), *found]
