"""What has published a job's message: a form of this site, a schedule, or the queue itself.

No message passes here. The request that has brought the message says which it was.
"""

from typing import NamedTuple
from urllib.parse import urlsplit

from django.tasks.exceptions import TaskException
from django.urls import reverse

from jobs.interface import task_of
from jobs.models import Job


class Publisher(NamedTuple):
    """The strip's first box: its name, and what it says."""

    name: str
    says: str


PUBLISHERS = {
    "form": Publisher("Browser", "posts the form"),
    "schedule": Publisher("Schedule", "is due"),
    "callback": Publisher("Queue", "reports the answer"),
}


def publisher_of(job: Job) -> str:
    """The key of the job's publisher in PUBLISHERS.

    A callback is received at a view of its own, and not at its task's endpoint.
    """
    if "Upstash-Schedule-Id" in job.received.get("headers", {}):
        return "schedule"
    try:
        own = reverse("receive", args=[task_of(job).endpoint])
    except TaskException:
        return "form"
    path = urlsplit(str(job.received.get("claims", {}).get("sub", ""))).path
    return "form" if path in {"", own} else "callback"
