"""Tell open pages which jobs have changed.

No message passes here. `live/reader.py` calls these functions for all pages of a process; a
page that shows a visitor's jobs watches `jobs:<owner>`, a job's own page `job:<id>`.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from jobs.models import Job
from live.moments import Seen, changed_rows

type Key = tuple[str, str]

# What the queue knows of a job is not in the job's row: how a message fares that has not arrived,
# and how an attempt was settled after the job had ended. Ask for a while.
ASK_SECONDS = 1.0
ASKED_FOR = timedelta(seconds=60)
SETTLED_WITHIN = timedelta(seconds=5)


def read_changed(since: Seen[Key] | None) -> tuple[Seen[Key], set[str]]:
    """The topics of the jobs whose rows have changed."""
    since, changed = changed_rows(changed_after, since)
    return since, topics(changed)


def changed_after(moment: datetime) -> Iterable[tuple[Key, datetime]]:
    rows = Job.objects.filter(changed_at__gt=moment).values_list("id", "owner", "changed_at")
    return (((job_id, owner), changed_at) for job_id, owner, changed_at in rows)


def read_unsettled(since: Any) -> tuple[Any, set[str]]:
    """The topics of the jobs that only the queue may have news of."""
    now = timezone.now()
    unheard = Q(status=Job.Status.QUEUED, changed_at__gt=now - ASKED_FOR)
    ended = Q(status__in=Job.ENDED, changed_at__gt=now - SETTLED_WITHIN)
    rows = Job.objects.filter(unheard | ended, changed_at__gt=now - ASKED_FOR)
    return None, topics(rows.values_list("id", "owner"))


def topics(jobs: Iterable[Key]) -> set[str]:
    return {topic for job_id, owner in jobs for topic in (f"job:{job_id}", f"jobs:{owner}")}
