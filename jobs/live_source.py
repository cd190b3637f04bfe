"""Tell open pages which jobs have changed.

No message passes here. `live/reader.py` calls these functions for all pages of a process; a
page that shows a visitor's jobs watches `jobs:<owner>`, a job's own page `job:<id>`.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from math import ceil
from typing import Any, NamedTuple

from django.db.models import Q
from django.tasks import task_backends
from django.utils import timezone

from jobs.hosted import HostedQueue
from jobs.interface import JobBackend
from jobs.models import Job
from jobs.pages import QUIET_SECONDS
from live.moments import Seen, changed_rows

type Key = tuple[str, str]

# A queue whose log has to be asked for over the network tells nothing by itself: a page asks it
# about a job that should have begun, and about one that has just ended.
ASK_SECONDS = 1.0
ASKED_FOR = timedelta(seconds=60)
SETTLED_WITHIN = timedelta(seconds=5)
QUIET_LOOKS = ceil(QUIET_SECONDS / ASK_SECONDS) + 1


def read_changed(since: Seen[Key] | None) -> tuple[Seen[Key], set[str]]:
    """The topics of the jobs whose rows have changed."""
    since, changed = changed_rows(changed_after, since)
    return since, topics(changed)


def changed_after(moment: datetime) -> Iterable[tuple[Key, datetime]]:
    rows = Job.objects.filter(changed_at__gt=moment).values_list("id", "owner", "changed_at")
    return (((job_id, owner), changed_at) for job_id, owner, changed_at in rows)


class Heard(NamedTuple):
    """How far each queue's log has been read, and whose jobs the last looks have found."""

    positions: dict[str, Any] = {}
    looks: tuple[frozenset[str], ...] = ()


def read_log(since: Heard | None) -> tuple[Heard, set[str]]:
    """The topics of the jobs that only a queue's log has news of.

    A page asks about a queued job once that is quiet (`is_quiet`), so tell it again after that.
    """
    positions, looks = since or Heard()
    found = {alias: queue.read_log(positions.get(alias)) for alias, queue in queues().items()}
    new = frozenset().union(*(ids for _, ids in found.values()))
    again = looks[-1] if len(looks) == QUIET_LOOKS else frozenset()
    looks = (new, *looks)[:QUIET_LOOKS]
    heard = Heard({alias: position for alias, (position, _) in found.items()}, looks)
    if not new | again:
        return heard, set()
    jobs = Job.objects.filter(Q(id__in=new) | Q(id__in=again, status=Job.Status.QUEUED))
    return heard, topics(jobs.values_list("id", "owner"))


def queues() -> dict[str, JobBackend]:
    return {each.alias: each for each in task_backends.all() if isinstance(each, JobBackend)}


def read_unsettled(since: Any) -> tuple[Any, set[str]]:
    """The topics of the jobs that a queue may have news of whose log tells nothing by itself."""
    silent = [alias for alias, queue in queues().items() if isinstance(queue, HostedQueue)]
    if not silent:
        return None, set()
    now = timezone.now()
    unheard = Q(status=Job.Status.QUEUED, changed_at__gt=now - ASKED_FOR)
    ended = Q(status__in=Job.ENDED, changed_at__gt=now - SETTLED_WITHIN)
    rows = Job.objects.filter(unheard | ended, changed_at__gt=now - ASKED_FOR, backend__in=silent)
    return None, topics(rows.values_list("id", "owner"))


def topics(jobs: Iterable[Key]) -> set[str]:
    return {topic for job_id, owner in jobs for topic in (f"job:{job_id}", f"jobs:{owner}")}
