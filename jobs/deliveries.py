"""The deliveries of a job's messages: the queue's log, completed by what the job's row knows.

No message passes here. The log is settled a moment after the answer was sent, and it has
nothing of a delivery that came another way, such as a message that somebody sent once more.
"""

from collections.abc import Sequence
from datetime import timedelta

from jobs.attempts import Attempt
from jobs.models import Job
from jobs.pages import moment

# What `receiving.py` has answered, by what it has made of the job.
ANSWERS = {"succeeded": 200, "waiting": 503, "failed": 489}
# The queue's clock may be another one than the job's.
CLOCKS_DIFFER = timedelta(seconds=1)


def deliveries(job: Job, attempts: Sequence[Attempt]) -> list[Attempt]:
    """The attempts in the queue's log, and what it does not say of the newest one."""
    noted, last = newest_noted(job), attempts[-1] if attempts else None
    if noted is None:
        return list(attempts)
    if last is None:
        return [noted] if job.status == "succeeded" else []
    if last.ended_at and noted.at > last.ended_at + CLOCKS_DIFFER:
        return [*attempts, noted._replace(number=last.number + 1)]
    if last.seconds is None and job.status == "succeeded":
        return [*attempts[:-1], noted._replace(number=last.number)]
    return list(attempts)


def newest_noted(job: Job) -> Attempt | None:
    """The newest delivery that the job has noted; None if none has come."""
    begun, ended = job.last_attempted_at, job.finished_at
    if begun is None:
        return None
    if job.status == "waiting" and job.errors:
        ended = moment(job.errors[-1])
    status = ANSWERS.get(job.status)
    if status is None or ended is None:
        return Attempt(job.attempts, begun)
    error = "" if status == 200 else job.error
    return Attempt(job.attempts, begun, status, error, (ended - begun).total_seconds())
