"""What a site sets up at its queue besides jobs: schedules and URL groups.

Their messages name a task and an owner but no job: nobody has clicked. The queue publishes them
when their time comes, and `receiving.py` gives each a job on arrival. Both queues offer the
same; `embedded_resources.py` is our own database, `hosted_resources.py` QStash's REST API.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.utils import timezone

from groupcommit.writer import writer
from jobs.interface import JobTask, Letter, letter_for, new_job
from jobs.models import Job, store_jobs
from jobs.owners import sealed


class Receipt(NamedTuple):
    """A message that a URL group's endpoint has been sent."""

    message_id: str
    url: str


class Schedule(NamedTuple):
    """A schedule as its queue has it; moments in UTC."""

    schedule_id: str
    cron: str
    paused: bool
    created_at: datetime
    error: str = ""


class QueueResources:
    """Schedules and URL groups of one queue. All methods raise PublishError if it says no."""

    async def put_schedule(self, schedule_id: str, cron: str, letter: Letter) -> None:
        """Publish a letter at every moment of a cron expression; replaces one with this id."""
        raise NotImplementedError

    async def schedules(self, prefix: str) -> list[Schedule]:
        """The schedules whose ids begin so, oldest first."""
        raise NotImplementedError

    async def pause_schedule(self, schedule_id: str) -> None:
        """Publish nothing until the schedule is resumed."""
        raise NotImplementedError

    async def resume_schedule(self, schedule_id: str) -> None:
        """Publish again, from the next moment on."""
        raise NotImplementedError

    async def delete_schedule(self, schedule_id: str) -> None:
        """Delete a schedule, if it is there; what it has published is delivered all the same."""
        raise NotImplementedError

    async def put_group(self, name: str, endpoints: Mapping[str, str]) -> None:
        """Create a URL group, or change its endpoints; they are URLs by name."""
        raise NotImplementedError

    async def publish_to_group(self, name: str, letter: Letter, once: str) -> list[Receipt]:
        """Send a letter to each endpoint of a group. `once` is its deduplication id."""
        raise NotImplementedError


def letter_without_job(task: JobTask, *args: Any, **kwargs: Any) -> Letter:
    """A message that gets its job on arrival, which is then the task's owner's."""
    job = new_job(task, args, kwargs)
    body = {"args": job.args, "kwargs": job.kwargs, "owner": sealed(task.owner)}
    return letter_for(job, task)._replace(body=json.dumps(body).encode())


async def store_expected(task: JobTask, args: Sequence[Any], message_id: str) -> None:
    """Store the job of a message that is on its way, as it would be stored on arrival.

    So a page has it at once. If the message was faster, its job is left as it is.
    """
    job = new_job(task, args, {}, id=Job.id_for_message(message_id), status=Job.Status.QUEUED)
    job.messages = [{"id": message_id, "at": round(timezone.now().timestamp(), 3)}]
    await writer.write(store_jobs, job)
