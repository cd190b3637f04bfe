"""Delete jobs that have ended long ago, and the oldest of a visitor who has very many.

The job's message has left the queue. The queue's sweep (broker/retention.py) calls `sweep`
every minute, and again at once while there is more to delete.
"""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db.models import Q

from jobs.models import Job

AT_ONCE = 300
OVER = Q(status__in=[*Job.ENDED, Job.Status.NOT_SENT])


def sweep(now: int) -> bool:
    """Delete a few hundred jobs at most; whether there may be more. `now` is in unix ms."""
    at = datetime.fromtimestamp(now / 1000, UTC)
    old = delete_old(at - timedelta(days=settings.JOB_DAYS))
    return bounds.look(at) or old


def delete_old(before: datetime) -> bool:
    """Delete jobs that ended before a moment; whether there may be more.

    They are found by the index on `created_at`: few that are older have not ended.
    """
    ended = Q(finished_at__lt=before) | Q(finished_at=None)
    old = Job.objects.filter(OVER, ended, created_at__lt=before).order_by("created_at")
    return delete(list(old.values_list("id", flat=True)[:AT_ONCE]))


def delete(ids: list[str]) -> bool:
    """Delete jobs; whether there may be more of them."""
    Job.objects.filter(id__in=ids).delete()
    return len(ids) == AT_ONCE


class Bounds:
    """Keeps every visitor within the bound, by looking once at each job that is created."""

    def __init__(self) -> None:
        self.seen_until: datetime | None = None

    def look(self, at: datetime) -> bool:
        """Look at the next jobs, and delete too old ones of their owners; whether to go on."""
        since = self.seen_until or at - timedelta(hours=1)
        created = Job.objects.filter(created_at__gt=since, created_at__lte=at)
        rows = list(created.order_by("created_at").values_list("created_at", "owner")[:AT_ONCE])
        for owner in {owner for _, owner in rows if owner}:
            if delete_beyond(owner):
                return True  # and look at the same jobs again
        self.seen_until = rows[-1][0] if rows else since
        return len(rows) == AT_ONCE


def delete_beyond(owner: str) -> bool:
    """Delete a visitor's oldest ended jobs beyond the bound; whether there may be more."""
    most = settings.JOBS_PER_VISITOR
    newest = Job.objects.owned_by(owner).values_list("created_at", flat=True)
    beyond = newest[most : most + 1].first()
    if beyond is None:
        return False
    surplus = Job.objects.filter(OVER, owner=owner, created_at__lte=beyond).order_by("created_at")
    return delete(list(surplus.values_list("id", flat=True)[:AT_ONCE]))


bounds = Bounds()
