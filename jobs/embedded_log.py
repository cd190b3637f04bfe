"""Whose jobs the log of our own queue has news of.

The message is on its way, or its attempt has been settled; the job's row may know nothing of
it. `live_source.py` asks for all open pages at once.
"""

import re
from typing import NamedTuple

from django.db.models import BinaryField
from django.db.models.functions import Substr

from broker.models import Event, State
from jobs.embedded_resources import ACCOUNT

# What becomes of a message that has not arrived, and how an attempt was settled. That an attempt
# begins, its job says itself.
STATES = [State.RETRY, State.ERROR, State.DELIVERED]
# Ids are given before their transactions commit, so a smaller one may appear later.
LOOK_BACK = 200
JOB_ID = re.compile(rb'\{"job_id": "([0-9a-f]{32})"')  # as `letter_for` begins a body
BEGINNING = 64


class Read(NamedTuple):
    """The largest id, and the ids before it that have been seen."""

    newest: int
    ids: frozenset[int]


def read_log(since: Read | None) -> tuple[Read, set[str]]:
    """How far the log has been read now, and the ids of the jobs of the lines that are new."""
    log = Event.objects.filter(account=ACCOUNT)
    if since is None:
        ids = frozenset(log.order_by("-id").values_list("id", flat=True)[:LOOK_BACK])
        return Read(max(ids, default=0), ids), set()
    lines = log.filter(id__gt=since.newest - LOOK_BACK).exclude(id__in=since.ids)
    beginning = Substr("message__body", 1, BEGINNING, output_field=BinaryField())
    new = dict(lines.filter(state__in=STATES).values_list("id", beginning))
    newest = max([since.newest, *new])
    ids = frozenset(number for number in since.ids | new.keys() if number > newest - LOOK_BACK)
    found = [JOB_ID.match(bytes(body or b"")) for body in new.values()]
    return Read(newest, ids), {match[1].decode() for match in found if match}
