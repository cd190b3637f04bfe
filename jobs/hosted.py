"""The hosted queue: publishing is one HTTP call to QStash.

The job has been saved; its message leaves the site here, through `qstash.py`. QStash delivers
it to `receiving.py`.
"""

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.db import connection, connections, transaction
from django.tasks.signals import task_enqueued
from django.utils import timezone

from groupcommit.transactions import write_transaction
from groupcommit.writer import writer
from jobs import checks
from jobs.attempts import Attempt, read_attempts
from jobs.exceptions import PublishError
from jobs.interface import JobBackend, JobResult, JobTask, Letter, letter_for
from jobs.models import Job, Transition, save_transitions, store_jobs

if TYPE_CHECKING:
    from jobs.hosted_resources import HostedResources
    from jobs.qstash import QStash

logger = logging.getLogger(__name__)


class HostedQueue(JobBackend):
    """QStash: publishing is one HTTP call. https://upstash.com/docs/qstash

    The job is saved first. If QStash does not take its message, the job stays *not sent*, with
    the reason, to be published again. What a crash leaves unpublished is found by `unsent.py`.
    """

    name = "hosted QStash"

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        return super().check() + checks.check_hosted()

    @property
    def client(self) -> "QStash":
        from jobs.qstash import client_for  # here: `requests` takes 0.05 s, and most do without

        return client_for(settings.QSTASH_URL, settings.QSTASH_TOKEN)

    @property
    def resources(self) -> "HostedResources":
        from jobs.hosted_resources import HostedResources

        return HostedResources(self.client)

    def publish(self, job: Job, task: JobTask) -> JobResult:
        """Inside a transaction, publish after its commit; a failure is then logged, not raised."""
        letter = letter_for(job, task)
        if job._state.adding:
            with write_transaction():
                (is_new,) = store_jobs([job])
            if not is_new:
                job.refresh_from_db()
                return JobResult.of(job, task)
        if connection.in_atomic_block:
            transaction.on_commit(partial(self.send, job, task, letter), robust=True)
        else:
            self.send(job, task, letter)
        return JobResult.of(job, task)

    async def apublish(self, job: Job, task: JobTask) -> JobResult:
        """In a thread of its own, as the HTTP call may take a while."""

        def in_thread() -> JobResult:
            try:
                return self.publish(job, task)
            finally:
                connections.close_all()

        return await asyncio.to_thread(in_thread)

    def send(self, job: Job, task: JobTask, letter: Letter) -> None:
        try:
            message_id = self.hand_over(job, letter)
        except PublishError as error:
            record(job.refuse(str(error)))
            raise
        if not record(job.publish(message_id, timezone.now())):
            job.refresh_from_db()  # the message has arrived already
        task_enqueued.send(type(self), task_result=JobResult.of(job, task))

    def hand_over(self, job: Job, letter: Letter) -> str:
        """Make the HTTP call. Return the message's id; a PublishError is logged with its cause."""
        try:
            if letter.queue_name and (parallelism := self.parallelism.get(job.queue_name)):
                self.client.create_queue(letter.queue_name, parallelism)
            # Publishing once more after an answer that was lost must not start the job twice.
            ended = int(job.finished_at.timestamp()) if job.finished_at else 0
            return self.client.publish(*letter, f"job-{job.id}-{len(job.messages)}-{ended}")
        except PublishError as error:
            error.job = job
            facts = {"job": job.id, "error": str(error), "cause": repr(error.__cause__)}
            logger.warning("publish failed", extra=facts)
            raise

    async def acancel(self, job: Job) -> bool:
        """Cancel the job, then its message; should that come all the same, it does nothing."""
        transition = job.cancel(timezone.now())
        if not transition or not await writer.write(save_transitions, transition):
            return False
        try:
            if job.message_id:
                await asyncio.to_thread(self.client.cancel, job.message_id)
        except PublishError as error:
            logger.warning("cancel failed", extra={"job": job.id, "error": str(error)})
        return True

    async def attempts(self, job: Job) -> list[Attempt]:
        ids = [message["id"] for message in job.messages]
        logs = [await asyncio.to_thread(self.client.events, message_id) for message_id in ids]
        return [attempt for log in logs for attempt in read_attempts(log)]


def record(transition: Transition | None) -> bool:
    """Save a transition; False if it was not to be, or if the job has moved meanwhile."""
    with write_transaction():
        return save_transitions([transition])[0]
