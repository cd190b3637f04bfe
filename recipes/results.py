"""What the page of an example shows of its jobs, and how it is kept up to date.

No message passes here. A page says which tasks are its own; their jobs are listed, newest
first, as on the home page, and what changes is told to the open page.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest
from django.tasks import default_task_backend, task_backends
from django.urls import reverse

from jobs.attempts import Attempt
from jobs.exceptions import PublishError
from jobs.interface import JobTask
from jobs.models import Job, JobQuerySet
from jobs.pages import Card
from jobs.signatures import site_url
from jobs.views import visitor_of

RECENT = 20
# A browser without scripts asks for the page again while something can still happen.
REFRESH_SECONDS = 2
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")


def jobs_of(request: HttpRequest, *tasks: JobTask) -> JobQuerySet:
    """The visitor's jobs with one of these tasks, newest first."""
    names = [task.module_path for task in tasks]
    return Job.objects.owned_by(visitor_of(request)).filter(task__in=names)
