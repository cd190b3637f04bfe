"""Delete caught requests for their age, or the oldest when all bins together are too large.

No message passes here. The queue's sweep (broker/retention.py) calls `sweep` every minute, and
again at once while there is more to delete. A flood of requests does not wait for it: the view
that catches them calls `keep_within`.
"""

from datetime import UTC, datetime, timedelta

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db.models import Count, Exists, OuterRef, QuerySet, Sum

from catcher.models import Bin, Entry
from groupcommit.statements import one_by_one
from groupcommit.writer import Write, writer

AT_ONCE = 300
MOST_BINS = 2000
# What a row takes beside its headers, path and body.
ROW_BYTES = 200


def sweep(now: int) -> bool:
    """Delete a few hundred rows at most; whether there may be more. `now` is in unix ms."""
    before = datetime.fromtimestamp(now / 1000, UTC) - timedelta(days=settings.CATCHER_DAYS)
    if delete(Entry.objects.filter(at__lt=before).order_by("at")):
        return True
    excess = excess_bytes()
    if excess > 0:
        return delete_oldest(excess) > 0
    return delete_unused_bins(before)


def delete(entries: QuerySet[Entry]) -> bool:
    """Delete the first few hundred; whether there may be more."""
    ids = list(entries.values_list("id", flat=True)[:AT_ONCE])
    Entry.objects.filter(id__in=ids)._raw_delete("default")
    return len(ids) == AT_ONCE


def most_bytes() -> int:
    """How many bytes all entries may take."""
    return int(settings.CATCHER_MEGABYTES) * 1024 * 1024


def excess_bytes() -> int:
    """How many bytes all entries take beyond that; read from an index alone."""
    total = Entry.objects.aggregate(count=Count("*"), size=Sum("size"))
    size: int = total["size"] or 0
    return size + int(total["count"]) * ROW_BYTES - most_bytes()


def delete_oldest(excess: int) -> int:
    """Delete the oldest entries, a few hundred at most; how many bytes are still too many."""
    ids = []
    for entry_id, size in Entry.objects.order_by("at").values_list("id", "size")[:AT_ONCE]:
        if excess <= 0:
            break
        ids.append(entry_id)
        excess -= size + ROW_BYTES
    Entry.objects.filter(id__in=ids)._raw_delete("default")
    return excess if ids else 0


class Flood:
    """How much this process has caught since it last looked at the total."""

    def __init__(self) -> None:
        self.caught_bytes = 0

    async def keep_within(self, size: int) -> None:
        """Count what was caught; after a tenth of the total, delete what is beyond it."""
        self.caught_bytes += size + ROW_BYTES
        if self.caught_bytes < most_bytes() / 10:
            return
        self.caught_bytes = 0
        excess = await sync_to_async(excess_bytes)()
        while excess > 0:
            excess = await writer.write(shrink, excess)


shrink: Write[int, int] = one_by_one(delete_oldest)
flood = Flood()


def delete_unused_bins(before: datetime) -> bool:
    """Forget what bins answer that are empty and were not changed, or that are too many."""
    caught = Entry.objects.filter(bin=OuterRef("name"))
    unused = Bin.objects.filter(~Exists(caught), changed_at__lt=before).order_by("changed_at")
    surplus = Bin.objects.order_by("-changed_at")[MOST_BINS : MOST_BINS + AT_ONCE]
    names = {row.name for row in [*unused[:AT_ONCE], *surplus]}
    Bin.objects.filter(name__in=names).delete()
    return len(names) >= AT_ONCE
