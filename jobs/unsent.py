"""Find the jobs that a crash has left between being saved and being published.

A job is saved before hosted QStash is asked to take its message. If the process ends in
between, the job is *not sent* and has no reason. This module publishes it; the deduplication
id keeps QStash from taking the same message twice.
"""

import asyncio
import logging
from datetime import timedelta

from django.db import DatabaseError
from django.tasks import task_backends
from django.tasks.exceptions import TaskException
from django.utils import timezone

from groupcommit.outages import reported
from groupcommit.writer import writer
from jobs.backends import HostedQueue
from jobs.exceptions import PublishError
from jobs.interface import task_of
from jobs.models import Job, save_transitions

logger = logging.getLogger(__name__)

# One HTTP call, with its tries and timeouts, takes 45 s at most.
PUBLISHING = timedelta(seconds=60)
ROUND_SECONDS = 30


async def publish_unsent(published_within: timedelta = PUBLISHING) -> int:
    """Publish the jobs that should have been published by now. Return how many were."""
    hosted = [backend for backend in task_backends.all() if isinstance(backend, HostedQueue)]
    sent = 0
    for backend in hosted:
        saved_before = timezone.now() - published_within
        unsent = Job.objects.filter(status=Job.Status.NOT_SENT, error="", backend=backend.alias)
        async for job in unsent.filter(created_at__lt=saved_before).order_by("created_at"):
            try:
                await backend.apublish(job, task_of(job))
            except (PublishError, TaskException) as error:
                await writer.write(save_transitions, job.refuse(str(error)))
                logger.warning("not sent", extra={"job": job.id, "error": str(error)})
            else:
                sent += 1
                logger.info("found unsent, published", extra={"job": job.id})
    return sent


async def keep_publishing_unsent() -> None:
    """Look for unsent jobs now and every half minute, for as long as the process lives."""
    while True:
        try:
            await publish_unsent()
        except DatabaseError as error:
            if not reported(error):
                logger.exception("cannot look for unsent jobs")
        await asyncio.sleep(ROUND_SECONDS)
