"""A job: a task that somebody started, how far it has come, and who works on it now.

The message that carries the job's id is in the queue. A message may come twice, late, or while
an earlier attempt still runs, so the job decides what an arriving message may do. Every arrow
in the README's drawing is a method of `Job` that prepares one conditional UPDATE.
"""

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

from django.db import models
from django.utils import timezone
from django.utils.crypto import salted_hmac

from groupcommit.statements import insert_all, rows_for_update
from groupcommit.updates import update_each

# An attempt that has not renewed its lease for this long is presumed dead; the next takes over.
LEASE = timedelta(seconds=7)
MOST_REFUSALS = 20


def new_job_id() -> str:
    """Return 128 random bits in hex: whoever knows a job's URL may see the job."""
    return secrets.token_hex(16)


class Refusal(NamedTuple):
    """Why a message may not start work: `for_good`, or because another attempt holds the job."""

    reason: str
    for_good: bool = False
    held_until: datetime | None = None


UNKNOWN = Refusal("there is no such job", for_good=True)


class Arrival(NamedTuple):
    """A verified message that asks to work on a job. `worker` names this process."""

    job_id: str
    message_id: str
    attempt: int
    task: str
    worker: str
    now: datetime
    received: dict[str, Any] = {}  # what to show of the request: headers, claims


class Transition(NamedTuple):
    """A change to one job, made only if the job's row is still as it was before."""

    before: dict[str, Any]
    after: dict[str, Any]


class Status(models.TextChoices):
    NOT_SENT = "not_sent", "not sent"
    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    WAITING = "waiting", "waiting for the next attempt"
    SUCCEEDED = "succeeded", "succeeded"
    FAILED = "failed", "failed"
    CANCELLED = "cancelled", "cancelled"


class JobQuerySet(models.QuerySet["Job"]):
    def owned_by(self, owner: str) -> Self:
        """The jobs of one visitor, newest first."""
        return self.filter(owner=owner).order_by("-created_at", "-id")


class Job(models.Model):
    """A task's arguments, progress and outcome. The README draws the states."""

    Status = Status
    ENDED = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)
    PUBLISHABLE = (Status.NOT_SENT, Status.FAILED, Status.CANCELLED)

    id = models.CharField(primary_key=True, max_length=32, default=new_job_id, editable=False)
    owner = models.CharField(max_length=64, blank=True)
    task = models.CharField(max_length=255, help_text="import path, such as jobs.tasks.long_task")
    backend = models.CharField(max_length=64, default="default")
    queue_name = models.CharField(max_length=128, default="default")
    args = models.JSONField(default=list)
    kwargs = models.JSONField(default=dict)
    run_after = models.DateTimeField(null=True)
    options = models.JSONField(default=dict, help_text="{steps, retries, retry_delay, timeout}")

    status = models.CharField(max_length=10, choices=Status, default=Status.NOT_SENT)
    steps_done = models.PositiveIntegerField(default=0)
    steps_total = models.PositiveIntegerField(default=0)
    log = models.JSONField(default=list, help_text="[{number, at: unix s, text}]")
    return_value = models.JSONField(null=True)
    error = models.TextField(blank=True, help_text="what went wrong last, for people")
    errors = models.JSONField(default=list, help_text="[{attempt, at, text, exception, traceback}]")

    messages = models.JSONField(default=list, help_text="[{id, at: unix s}], the newest last")
    refusals = models.JSONField(default=list, help_text="[{at, text}]: publishes that failed")
    attempts = models.PositiveIntegerField(default=0, help_text="at the newest message")
    workers = models.JSONField(default=list, help_text="which process made each attempt")
    received = models.JSONField(default=dict, db_default={}, help_text="{headers, claims}: newest")
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(default=timezone.now, db_index=True)
    started_at = models.DateTimeField(null=True)
    last_attempted_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    worked_seconds = models.FloatField(default=0, help_text="in the attempts that have ended")
    next_attempt_at = models.DateTimeField(null=True)
    lease_token = models.CharField(max_length=32, blank=True)
    lease_expires_at = models.DateTimeField(null=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["owner", "-created_at"], name="recent"),
            models.Index(fields=["created_at"], name="oldest_jobs"),
        ]

    def __str__(self) -> str:
        return f"job {self.id}, {self.get_status_display()}"

    @classmethod
    def id_for_message(cls, message_id: str) -> str:
        """The id of the job that a message without one gets on arrival: always the same."""
        return salted_hmac("jobs.message", message_id, algorithm="sha256").hexdigest()[:32]

    @property
    def message_id(self) -> str:
        """The id of the job's newest message, empty before the first one."""
        return self.messages[-1]["id"] if self.messages else ""

    @property
    def has_ended(self) -> bool:
        return self.status in self.ENDED

    # The arrows of the drawing. Each changes this instance and returns the Transition to save.

    def publish(self, message_id: str, now: datetime) -> Transition | None:
        """Not sent, failed or cancelled to queued: the queue has taken a message for the job."""
        if self.status not in self.PUBLISHABLE:
            return None
        messages = [*self.messages, {"id": message_id, "at": round(now.timestamp(), 3)}]
        afresh = {"error": "", "finished_at": None, "worked_seconds": 0}
        return self.move(self.status, Status.QUEUED, messages=messages, **afresh)

    def refuse(self, error: str) -> Transition | None:
        """Not sent, failed or cancelled, and it stays so: the queue has not taken the message."""
        if self.status not in self.PUBLISHABLE:
            return None
        refusal = {"at": round(timezone.now().timestamp(), 3), "text": error}
        refusals = [*self.refusals, refusal][-MOST_REFUSALS:]
        return self.move(self.status, Status(self.status), error=error, refusals=refusals)

    def claim(self, arrival: Arrival) -> Transition | Refusal:
        """To running: a message has come, and no other attempt holds the job.

        A failed job runs again if somebody has told the queue to deliver the dead letter again.
        Work goes on after the last step noted.
        """
        if self.task != arrival.task:
            return Refusal(f"the job's task is {self.task}", for_good=True)
        known = arrival.message_id in [message["id"] for message in self.messages]
        # A dead letter's attempts count from 1 again, under its message's id or a new one.
        next_of_known = known and arrival.attempt > self.attempts > 0
        has_ended = self.status in {Status.SUCCEEDED, Status.CANCELLED}
        if has_ended or (self.status == Status.FAILED and next_of_known):
            return Refusal(f"the job has ended: {self.status}")
        if self.status == Status.RUNNING and self.lease_left(arrival.now) > timedelta():
            return Refusal("another attempt holds the job", held_until=self.lease_expires_at)
        message = {"id": arrival.message_id, "at": round(arrival.now.timestamp(), 3)}
        return self.move(
            self.status,
            Status.RUNNING,
            ["changed_at"],
            messages=self.messages if known else [*self.messages, message],
            attempts=arrival.attempt,
            workers=[*self.workers, arrival.worker],
            received=arrival.received,
            started_at=self.started_at or arrival.now,
            last_attempted_at=arrival.now,
            finished_at=None,
            worked_seconds=0 if self.status == Status.FAILED else self.worked_seconds,
            next_attempt_at=None,
            lease_token=secrets.token_hex(16),
            lease_expires_at=arrival.now + LEASE,
        )

    def lease_left(self, now: datetime) -> timedelta:
        return (self.lease_expires_at or now) - now

    def note(self, text: str, now: datetime) -> Transition:
        """Running to running: the next step is done."""
        self.steps_done += 1
        at, text = round(now.timestamp(), 3), text.replace("\0", "")  # PostgreSQL takes no NUL
        self.log = [*self.log, {"number": self.steps_done, "at": at, "text": text}]
        return self.renew(now)

    def renew(self, now: datetime) -> Transition:
        """Running to running: hold the job a while longer."""
        noted = {"steps_done": self.steps_done, "log": self.log}
        return self.move(Status.RUNNING, Status.RUNNING, **noted, lease_expires_at=now + LEASE)

    def succeed(self, value: Any, now: datetime) -> Transition:
        """Running to succeeded: the task has returned."""
        return self.end_attempt(Status.SUCCEEDED, return_value=value, error="", finished_at=now)

    def wait(self, error: str, errors: list[Any], next_attempt_at: datetime) -> Transition:
        """Running to waiting: the attempt has failed, and the queue will deliver again."""
        values = {"error": error, "errors": errors, "next_attempt_at": next_attempt_at}
        return self.end_attempt(Status.WAITING, **values)

    def give_up(self, error: str, errors: list[Any], now: datetime) -> Transition:
        """Running to failed: the task says that no further attempt can help."""
        values = {"error": error, "errors": errors, "finished_at": now}
        return self.end_attempt(Status.FAILED, **values)

    def fail(self, error: str, message_id: str, now: datetime) -> Transition | None:
        """Any state that has not ended to failed: the queue has given up on the message.

        A job that noted its own reason keeps it. One that has a newer message goes on.
        """
        if self.has_ended or message_id in [message["id"] for message in self.messages[:-1]]:
            return None
        values = {"error": self.error or error, "finished_at": now, "next_attempt_at": None}
        if self.status == Status.RUNNING:  # nobody has told the attempt that the queue hung up
            return self.end_attempt(Status.FAILED, **values)
        return self.move(self.status, Status.FAILED, **values)

    def cancel(self, now: datetime) -> Transition | None:
        """Not sent, queued or waiting to cancelled: its owner has changed their mind."""
        if self.has_ended or self.status == Status.RUNNING:
            return None
        return self.move(self.status, Status.CANCELLED, finished_at=now, next_attempt_at=None)

    def end_attempt(self, status: str, **values: Any) -> Transition:
        """Leave running, and the lease with it; keep the steps noted so far."""
        noted = {"steps_done": self.steps_done, "log": self.log}
        at = values.get("finished_at") or timezone.now()
        worked = self.worked_seconds + max(0, (at - (self.last_attempted_at or at)).total_seconds())
        return self.move(Status.RUNNING, status, **noted, **values, worked_seconds=worked)

    def move(self, old: str, new: str, also: Sequence[str] = (), /, **values: Any) -> Transition:
        """Set values here; the row follows if its status, its lease and `also` are as before."""
        before = {name: getattr(self, name) for name in ("id", "lease_token", *also)}
        after = {"status": new, **values, "changed_at": timezone.now()}
        for name, value in after.items():
            setattr(self, name, value)
        return Transition(before | {"status": old}, after)


def claim_jobs(arrivals: list[Arrival]) -> list[Job | Refusal]:
    """Begin or resume work on jobs; of rivals for one job the first gets it.

    The writer calls this with the arguments of everybody who waits (groupcommit/writer.py).
    """
    jobs = locked_jobs(arrival.job_id for arrival in arrivals)
    claims = [jobs[a.job_id].claim(a) if a.job_id in jobs else UNKNOWN for a in arrivals]
    if not all(save_transitions([claim for claim in claims if isinstance(claim, Transition)])):
        return claim_jobs(arrivals)  # a lone attempt locks nothing; the job was moved meanwhile
    return [jobs[c.before["id"]] if isinstance(c, Transition) else c for c in claims]


class Failure(NamedTuple):
    """The queue has given up on a job's message."""

    job_id: str
    message_id: str
    error: str


def fail_jobs(failures: list[Failure]) -> list[Job | None]:
    """End the jobs of messages that no attempt could deliver; None where there is nothing to do."""
    jobs = locked_jobs(failure.job_id for failure in failures)
    transitions = [
        jobs[job_id].fail(error, message_id, timezone.now()) if job_id in jobs else None
        for job_id, message_id, error in failures
    ]
    saved = save_transitions(transitions)
    return [jobs[f.job_id] if ended else None for f, ended in zip(failures, saved, strict=True)]


def store_jobs(jobs: list[Job]) -> list[bool]:
    """Store new jobs; False for one whose id is taken, which stays as it is."""
    stored = insert_all(jobs, key="id")
    return [stored.pop(job.id, None) is not None for job in jobs]


def locked_jobs(ids: Iterable[str]) -> dict[str, Job]:
    """Read jobs. In a transaction, nobody else can move them before it ends."""
    return rows_for_update(Job, list(dict.fromkeys(ids)))


def save_transitions(transitions: Sequence[Transition | None]) -> list[bool]:
    """Write transitions; False for one that was not to be, or a job that moved meanwhile."""
    return update_each(Job, transitions)
