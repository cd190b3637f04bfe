"""What the templates show of a job, in words.

No message passes here. A `Card` is a job as a page has it, a timeline its history: what the
job has noted, together with what the queue's log says of its messages.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any, NamedTuple

from django.utils import timezone

from jobs.attempts import Attempt
from jobs.models import Job

# A job that has not been heard of for this long: ask the queue what became of its message.
QUIET_SECONDS = 2.0


BUTTONS = {"not_sent": "Send again", "failed": "Try again", "cancelled": "Start again"}


class Card:
    """A job as a page shows it, and the queue's attempts where it knows more than the job."""

    def __init__(self, job: Job, attempts: Sequence[Attempt] = ()) -> None:
        self.job, self.status = job, str(job.status)
        self.can_cancel = job.status in {"not_sent", "queued", "waiting"}
        self.publish_label = BUTTONS.get(job.status, "")
        # How often the page asks for the status; an ended job is not asked for any more.
        self.polls = "" if job.has_ended else "5s" if job.status == "not_sent" else "500ms"
        # The last attempt, if no message of the job has reached this site yet.
        self.unheard = attempts[-1] if attempts and job.status == "queued" else None
        if self.unheard and self.unheard.error:
            self.status = "waiting"
        self.label = self.status.replace("_", " ")
        # Changes whenever there is something new to announce.
        number = attempts[-1].number if attempts else job.attempts
        self.version = f"{len(job.messages)}-{number}-{self.status}"
        self.is_news = job.has_ended or self.status == "waiting"

    @property
    def explanation(self) -> str:
        """What follows the status: how long it took, when it goes on, what went wrong."""
        job = self.job
        if self.status == "waiting":
            return self.waiting_for()
        if self.status == "succeeded" and job.started_at and job.finished_at:
            return f" in {(job.finished_at - job.started_at).total_seconds():.1f} s"
        return f": {job.error}" if job.error and self.status != "running" else ""

    def waiting_for(self) -> str:
        error = self.job.error or (self.unheard.error if self.unheard else "")
        failed = self.unheard.number if self.unheard else self.job.attempts
        most = self.job.options.get("retries", 0) + 1
        if failed >= most:
            return f" for the queue to give up: attempt {failed} of {most} failed, {error}"
        next_at = self.unheard.next_at if self.unheard else self.job.next_attempt_at
        seconds = (next_at - timezone.now()).total_seconds() if next_at else 0
        return f" for attempt {failed + 1} of {most} in {max(0, ceil(seconds))} s: {error}"


def is_quiet(job: Job) -> bool:
    """Whether a job should have begun by now; if no message arrives, only the queue knows why."""
    age = (timezone.now() - job.created_at).total_seconds()
    return job.status == "queued" and age > QUIET_SECONDS


class TimelineEntry(NamedTuple):
    """A line of a job's timeline; `kind` is message, attempt, step, error or end."""

    at: datetime
    kind: str
    text: str


def timeline(job: Job, attempts: Sequence[Attempt]) -> list[TimelineEntry]:
    """Everything that is known of a job, oldest first."""
    entries = [TimelineEntry(job.created_at, "message", "saved")] if not job.messages else []
    for message in job.messages:
        entries.append(TimelineEntry(moment(message), "message", f"published as {message['id']}"))
    for attempt in attempts:
        outcome = f"HTTP {attempt.status}" if attempt.status else attempt.error
        ended = attempt.seconds is not None
        text = f"{outcome} after {attempt.seconds:.2f} s" if ended else "under way"
        entries.append(TimelineEntry(attempt.at, "attempt", f"attempt {attempt.number}: {text}"))
    for step in job.log:
        text = f"step {step['number']}: {step['text']}"
        entries.append(TimelineEntry(moment(step), "step", text))
    for error in job.errors:
        entries.append(TimelineEntry(moment(error), "error", error["text"]))
    if job.finished_at:
        entries.append(TimelineEntry(job.finished_at, "end", job.get_status_display()))
    return sorted(entries, key=lambda entry: entry.at)


def moment(record: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(record["at"], UTC)


def as_json(job: Job) -> dict[str, Any]:
    """A job for scripts; moments in ISO 8601, UTC."""
    return {
        "id": job.id,
        "task": job.task,
        "message_id": job.message_id or None,
        "status": job.status,
        "steps_done": job.steps_done,
        "steps_total": job.steps_total,
        "attempts": job.attempts,
        "return_value": job.return_value,
        "error": job.error or None,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }
