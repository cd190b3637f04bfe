"""Tell open pages which bins have caught something, were emptied, or answer otherwise.

No message passes here. `live/reader.py` calls these functions for all pages of a process; a
bin's page watches `bin:<name>`.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from catcher.models import Bin, Entry
from live.moments import Seen, changed_rows

# Ids are given before their transactions commit, so a smaller one may appear later.
LOOK_BACK = 500


class Caught(NamedTuple):
    """The largest id, and the ids before it that have been seen."""

    newest: int
    ids: frozenset[int]


def read_caught(since: Caught | None) -> tuple[Caught, set[str]]:
    """The topics of the bins that have new entries."""
    newest = since.newest if since else newest_id()
    rows = Entry.objects.filter(id__gt=newest - LOOK_BACK).values_list("id", "bin")
    found = dict(rows.order_by())
    known = since.ids if since else found.keys()
    newest = max([newest, *found])
    seen = frozenset(number for number in found if number > newest - LOOK_BACK)
    return Caught(newest, seen), {f"bin:{name}" for id_, name in found.items() if id_ not in known}


def newest_id() -> int:
    return Entry.objects.order_by("-id").values_list("id", flat=True).first() or 0


def read_bins(since: Seen[str] | None) -> tuple[Seen[str], set[str]]:
    """The topics of the bins that were emptied, or whose answer was chosen."""
    since, changed = changed_rows(changed_after, since)
    return since, {f"bin:{name}" for name in changed}


def changed_after(moment: datetime) -> Iterable[tuple[str, datetime]]:
    return Bin.objects.filter(changed_at__gt=moment).values_list("name", "changed_at")
