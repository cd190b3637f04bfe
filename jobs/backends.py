"""The queues behind `enqueue`: our own database here, hosted QStash in `hosted.py`.

The visitor has clicked, and a view enqueues a task. The job and its message are stored in one
transaction. From here on the message is the queue's, until it is delivered to `receiving.py`.
"""

from itertools import compress
from typing import Any, NamedTuple

from django.tasks.signals import task_enqueued
from django.utils import timezone

import broker.cancelling
import broker.clock
import broker.errors
import broker.lanes
import broker.models
import broker.publishing
import broker.resources.queues
from groupcommit.transactions import write_transaction
from groupcommit.writer import writer
from jobs.attempts import Attempt, read_attempts
from jobs.embedded_log import read_log
from jobs.embedded_resources import EmbeddedResources
from jobs.exceptions import Refused
from jobs.hosted import HostedQueue
from jobs.interface import JobBackend, JobResult, JobTask, announce, letter_for
from jobs.models import Job, Transition, save_transitions, store_jobs

__all__ = ["EmbeddedQueue", "HostedQueue"]


class EmbeddedQueue(JobBackend):
    """Our own database: the job and its message are two rows of one transaction."""

    name = "embedded"
    resources = EmbeddedResources()

    def publish(self, job: Job, task: JobTask) -> JobResult:
        publication = self.publication(job, task)  # before the database is locked
        with write_transaction():
            (saved,) = store_publications([publication])
        if not saved:
            job.refresh_from_db()
            return JobResult.of(job, task)
        result = JobResult.of(job, task)
        task_enqueued.send(type(self), task_result=result)
        return result

    async def apublish(self, job: Job, task: JobTask) -> JobResult:
        if not await writer.write(store_publications, self.publication(job, task)):
            await job.arefresh_from_db()
            return JobResult.of(job, task)
        result = JobResult.of(job, task)
        await announce(task_enqueued, result)
        return result

    def publication(self, job: Job, task: JobTask) -> "JobAndMessage":
        """A job that is ready to be saved as queued, and its message."""
        letter = letter_for(job, task)
        try:
            message = broker.publishing.read_message(*letter)
        except broker.errors.Rejected as error:
            raise Refused(f"The queue refused the message: {error}.") from error
        is_new, parallelism = job._state.adding, self.parallelism.get(job.queue_name)
        transition = job.publish(message.message_id, timezone.now())
        return JobAndMessage(job, is_new, transition, message, parallelism)

    async def acancel(self, job: Job) -> bool:
        transition = job.cancel(timezone.now())
        return transition is not None and await writer.write(cancel_jobs, (job, transition))

    async def attempts(self, job: Job) -> list[Attempt]:
        ids = [message["id"] for message in job.messages]
        events = broker.models.Event.objects.filter(message__message_id__in=ids)
        fields = ("state", "time", "error", "response_status", "next_delivery_time")
        logs: dict[int, list[dict[str, Any]]] = {}
        async for event in events.order_by("message_id", "id").values("message_id", *fields):
            logs.setdefault(event["message_id"], []).append(event)
        return [attempt for log in logs.values() for attempt in read_attempts(log)]

    def read_log(self, since: Any) -> tuple[Any, set[str]]:
        return read_log(since)

    def is_stuck(self) -> bool:
        return broker.models.queue_is_stuck(broker.clock.now_ms())

    def is_alive(self) -> bool | None:
        if broker.models.dispatcher_is_alive(broker.clock.now_ms()):
            return True
        has_run = broker.models.Pulse.objects.exists()
        return False if has_run or self.is_stuck() else None


class JobAndMessage(NamedTuple):
    """A message and its job: a new one, or one that is saved already and its transition."""

    job: Job
    is_new: bool
    transition: Transition | None
    message: broker.models.Message
    parallelism: int | None


@broker.lanes.locked_for(lambda publication: [publication.message])
def store_publications(publications: list[JobAndMessage]) -> list[bool]:
    """Store jobs and their messages; False where somebody else has stored or moved the job."""
    stored = iter(store_jobs([each.job for each in publications if each.is_new]))
    saved = [
        next(stored) if each.is_new else save_transitions([each.transition])[0]
        for each in publications
    ]
    ours = list(compress(publications, saved))
    broker.publishing.store([each.message for each in ours])
    for each in ours:
        if each.parallelism:
            set_parallelism(each.message, each.parallelism)
    return saved


def set_parallelism(message: broker.models.Message, parallelism: int) -> None:
    """Let so many messages of a message's queue run at once."""
    name, now = str(message.queue_name), broker.clock.now_ms()
    change = broker.resources.queues.QueueChange(message.account, name, now, parallelism)
    if change.queue().exclude(parallelism=parallelism).exists():
        broker.resources.queues.apply(change)


@broker.lanes.locked
def cancel_jobs(cancellations: list[tuple[Job, Transition]]) -> list[bool]:
    """Cancel jobs and what is left of their messages; False for a job that has moved on."""
    saved = save_transitions([transition for _, transition in cancellations])
    jobs = [job for (job, _), is_saved in zip(cancellations, saved, strict=True) if is_saved]
    ids = [message["id"] for job in jobs for message in job.messages]
    messages = broker.models.Message.objects.filter(message_id__in=ids)
    broker.cancelling.cancel(list(messages.values_list("id", flat=True)), broker.clock.now_ms())
    return saved
