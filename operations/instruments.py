"""What each process counts: attempts, how long they and deliveries took, writes in a commit.

A message's attempt has just been settled. The counts go to files that all processes of a machine
share (prometheus_client's multiprocess mode), where scraping.py finds them. Nothing imports this
module unless METRICS_TOKEN is set.
"""

import os
from typing import Any

from django.conf import settings

# Read by prometheus_client when it is imported.
if settings.METRICS_TOKEN:
    settings.METRICS_FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(settings.METRICS_FOLDER))

from prometheus_client import Counter, Histogram

from broker.models import State
from broker.settling import Settlement
from broker.signals import attempt_settled
from groupcommit.signals import batch_written

OUTCOMES = {State.DELIVERED: "delivered", State.RETRY: "retried", State.FAILED: "failed"}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)

attempts = Counter(
    "queue_attempts",
    "Attempts that have ended: delivered, retried (another one will follow), failed (none will).",
    ["outcome"],
)
attempt_seconds = Histogram(
    "queue_attempt_seconds",
    "How long an attempt took, from the request to the end of its answer.",
    ["outcome"],
    buckets=SECONDS,
)
delivery_seconds = Histogram(
    "queue_delivery_seconds",
    "From the moment for which a message was published until it was delivered, by which attempt.",
    ["attempt"],
    buckets=SECONDS,
)
commit_writes = Histogram(
    "queue_commit_writes",
    "How many writes shared one commit.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500),
)
# Every series exists from the start: a rate needs its zero, and the files do not grow later.
ended = {word: (attempts.labels(word), attempt_seconds.labels(word)) for word in OUTCOMES.values()}
first, later = delivery_seconds.labels("first"), delivery_seconds.labels("later")


def count_attempt(settlement: Settlement, seconds: float, **kwargs: Any) -> None:
    """Count an attempt that has been written down."""
    outcome = OUTCOMES[settlement.next_state()[0]]
    counter, histogram = ended[outcome]
    counter.inc()
    histogram.observe(seconds)
    if outcome == "delivered":
        message = settlement.message
        late = max(0, settlement.now - message.not_before) / 1000
        (later if message.retried else first).observe(late)


def count_batch(size: int, **kwargs: Any) -> None:
    """Count a commit."""
    commit_writes.observe(size)


def connect() -> None:
    """Begin to count in this process."""
    attempt_settled.connect(count_attempt)
    batch_written.connect(count_batch)
