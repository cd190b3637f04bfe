"""A job: what the visitor started, how far it has come, and who works on it now.

The message that carries a job's id lives in the queue; this row is what the job itself
remembers. Messages come at least once, so every transition is one conditional UPDATE that
only one of two rivals can win, and the one that works holds a lease that its own progress
renews.
"""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from django.db import connection, models
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

TOTAL = 10
# A request may take 5 s (jobs/tasks.py) and is followed by a pause: whoever has noted no
# progress for this long is presumed dead.
LEASE = timedelta(seconds=7)


def new_job_id() -> str:
    """128 random bits: who knows a job's URL may see the job."""
    return secrets.token_hex(16)


class Refusal(NamedTuple):
    """Why a message may not start work on a job; `held_until` if another attempt has it."""

    reason: str
    held_until: datetime | None = None


UNKNOWN = Refusal("there is no such job")
FINISHED = Refusal("the job has ended")


class Claim(NamedTuple):
    """The right to work on a job until the lease ends, and what to work on."""

    job_id: str
    token: str
    sent: int
    requests: list[dict[str, Any]]
    target_url: str


class JobQuerySet(models.QuerySet["Job"]):
    def of(self, visitor: str) -> Self:
        """The jobs of one visitor, newest first."""
        return self.filter(visitor=visitor).order_by("-created_at", "-id")

    def unfinished(self) -> Self:
        return self.exclude(status__in=Job.FINISHED)

    def claimable(self, now: datetime) -> Self:
        """Unfinished, and nobody's lease on it is running."""
        free = ~Q(status=Job.Status.RUNNING) | Q(lease_expires_at__lte=now)
        return self.unfinished().filter(free)


class Job(models.Model):
    """A job and its progress. See the README for the states and their arrows."""

    class Status(models.TextChoices):
        NOT_SENT = "not_sent", "not sent"
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        WAITING = "waiting", "waiting for the next attempt"
        SUCCEEDED = "succeeded", "succeeded"
        FAILED = "failed", "failed"

    FINISHED = (Status.SUCCEEDED, Status.FAILED)

    id = models.CharField(primary_key=True, max_length=32, default=new_job_id, editable=False)
    visitor = models.CharField(max_length=32)
    target_url = models.TextField()
    message_id = models.CharField(max_length=128, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.NOT_SENT)
    sent = models.PositiveIntegerField(default=0)
    requests = models.JSONField(
        default=list, help_text="[{number, at: unix s, status, milliseconds}]"
    )
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    next_attempt_at = models.DateTimeField(null=True)
    lease_token = models.CharField(max_length=32, blank=True)
    lease_expires_at = models.DateTimeField(null=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["visitor", "-created_at"], name="recent")]

    def __str__(self) -> str:
        return f"job {self.id}, {self.get_status_display()}"

    @property
    def total(self) -> int:
        return TOTAL

    @property
    def is_finished(self) -> bool:
        return self.status in self.FINISHED

    @property
    def seconds(self) -> float | None:
        """How long it took from its first attempt to its end."""
        if self.finished_at is None or self.started_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def request_log(self) -> list[dict[str, Any]]:
        """The requests made so far, failed ones too, their moments as datetimes."""
        return [
            record | {"at": datetime.fromtimestamp(record["at"], UTC)} for record in self.requests
        ]

    @classmethod
    def claim(
        cls, job_id: str, message_id: str, attempt: int, now: datetime
    ) -> Claim | Refusal:
        """Begin or resume work on a job: queued, waiting or abandoned to running."""
        token = secrets.token_hex(16)
        claimed = cls.objects.claimable(now).filter(id=job_id).update(
            status=cls.Status.RUNNING,
            message_id=message_id,
            attempts=attempt,
            started_at=Coalesce(F("started_at"), now),
            next_attempt_at=None,
            lease_token=token,
            lease_expires_at=now + LEASE,
        )
        job = cls.objects.filter(id=job_id).first()
        if job is None:
            return UNKNOWN
        if not claimed:
            held = Refusal("another attempt holds the job", job.lease_expires_at)
            return FINISHED if job.is_finished else held
        return Claim(job.id, token, job.sent, job.requests, job.target_url)

    @classmethod
    def note(cls, claim: Claim, now: datetime) -> bool:
        """Note a request that has been answered, and renew the lease.

        False if the lease has gone to someone else. Written in SQL because it runs ten
        times a job: compiling the same UPDATE again would cost more than executing it.
        """
        adapt = connection.ops.adapt_datetimefield_value
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE jobs_job SET sent = %s, requests = %s, lease_expires_at = %s"
                " WHERE id = %s AND lease_token = %s AND status = 'running'",
                [
                    claim.sent,
                    json.dumps(claim.requests),
                    adapt(now + LEASE),
                    claim.job_id,
                    claim.token,
                ],
            )
            return bool(cursor.rowcount)

    @classmethod
    def held(cls, claim: Claim) -> JobQuerySet:
        """The claimed job, or nothing once the lease has gone to someone else."""
        return cls.objects.filter(
            id=claim.job_id, lease_token=claim.token, status=cls.Status.RUNNING
        )

    @classmethod
    def succeed(cls, claim: Claim, now: datetime) -> bool:
        """Running to succeeded."""
        return bool(
            cls.held(claim).update(
                status=cls.Status.SUCCEEDED, error="", finished_at=now, lease_token=""
            )
        )

    @classmethod
    def release(cls, claim: Claim, error: str, next_attempt_at: datetime | None) -> bool:
        """Running to waiting: this attempt has failed, the queue will bring another."""
        return bool(
            cls.held(claim).update(
                status=cls.Status.WAITING,
                error=error,
                requests=claim.requests,
                next_attempt_at=next_attempt_at,
                lease_token="",
            )
        )

    @classmethod
    def fail(cls, job_id: str, error: str, now: datetime) -> bool:
        """Any unfinished state to failed: the queue has given up.

        A job that noted its own reason keeps it; the queue's is for one that could not.
        """
        return bool(
            cls.objects.unfinished()
            .filter(id=job_id)
            .update(
                status=cls.Status.FAILED,
                error=models.Case(models.When(error="", then=models.Value(error)), default=F("error")),
                finished_at=now,
                next_attempt_at=None,
                lease_token="",
            )
        )

    def mark_sent(self, message_id: str) -> bool:
        """Not sent to queued. Its message may have arrived before we were told its id."""
        self.message_id = message_id
        queued = Job.objects.filter(id=self.id, status=self.Status.NOT_SENT).update(
            status=self.Status.QUEUED, message_id=message_id, error=""
        )
        if queued:
            self.status, self.error = self.Status.QUEUED, ""
        return bool(queued)

    def mark_not_sent(self, error: str) -> bool:
        """Keep a job that could not be published, with the reason."""
        self.error = error
        return bool(
            Job.objects.filter(id=self.id, status=self.Status.NOT_SENT).update(error=error)
        )
