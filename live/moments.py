"""Find the rows that have changed lately, by the moment that each change leaves in its row.

No message passes here. A row's moment is set before its transaction commits, perhaps on another
machine whose clock is late, so each look goes back a few seconds and leaves out what it knows.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from django.utils import timezone

# Longer than a transaction takes, together with what clocks differ by.
LOOK_BACK = timedelta(seconds=5)

type Rows[K] = Callable[[datetime], Iterable[tuple[K, datetime]]]


class Seen[K](NamedTuple):
    """The newest moment, and the rows of the last seconds before it."""

    newest: datetime
    moments: dict[K, datetime]


def changed_rows[K](rows: Rows[K], since: Seen[K] | None) -> tuple[Seen[K], list[K]]:
    """Where to go on the next time, and what has changed; nothing at the first look.

    A row that was deleted soon after a change has changed as well.
    `rows(moment)` returns pairs of a key and the moment, of all rows with a later moment.
    """
    newest = since.newest if since else timezone.now()
    found = dict(rows(newest - LOOK_BACK))
    known = since.moments if since else found
    new = [key for key, moment in found.items() if known.get(key) != moment]
    deleted = known.keys() - found.keys()
    newest = max([newest, *(found[key] for key in new)])
    kept = {key: moment for key, moment in found.items() if moment > newest - LOOK_BACK}
    return Seen(newest, kept), [*new, *deleted]
