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
from django.db.models import F
from django.utils import timezone

from groupcommit.statements import update_all, update_returning

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


class ClaimRequest(NamedTuple):
    """An attempt that asks for the right to work on a job."""

    job_id: str
    message_id: str
    attempt: int
    now: datetime


class AttemptEnd(NamedTuple):
    """What an attempt came to: succeeded at a moment, or waiting until one, and why."""

    claim: Claim
    status: str
    moment: datetime
    error: str = ""


class JobQuerySet(models.QuerySet["Job"]):
    def of(self, visitor: str) -> Self:
        """The jobs of one visitor, newest first."""
        return self.filter(visitor=visitor).order_by("-created_at", "-id")

    def unfinished(self) -> Self:
        return self.exclude(status__in=Job.FINISHED)


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
    requests = models.TextField(
        default="[]", help_text="JSON: [{number, at: unix s, status or error, milliseconds}]"
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
            record | {"at": datetime.fromtimestamp(record["at"], UTC)}
            for record in json.loads(self.requests)
        ]

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
                error=models.Case(
                    models.When(error="", then=models.Value(error)),
                    default=F("error"),
                    output_field=models.TextField(),
                ),
                finished_at=now,
                next_attempt_at=None,
                lease_token="",
            )
        )

    def mark_sent(self, message_id: str) -> bool:
        """Not sent to queued. Its message may have arrived before we were told its id."""
        queued = Job.objects.filter(id=self.id, status=self.Status.NOT_SENT).update(
            status=self.Status.QUEUED, message_id=message_id, error=""
        )
        if queued:
            self.status, self.message_id, self.error = self.Status.QUEUED, message_id, ""
        else:
            self.refresh_from_db()
        return bool(queued)

    def mark_not_sent(self, error: str) -> bool:
        """Keep a job that could not be published, with the reason."""
        kept = Job.objects.filter(id=self.id, status=self.Status.NOT_SENT).update(error=error)
        self.refresh_from_db()
        return bool(kept)


# The transitions that every job makes, ten times over, are writes over a list (see
# groupcommit/writer.py) and one UPDATE each for all the jobs of a batch.


def claim_jobs(wanted: list[ClaimRequest]) -> list[Claim | Refusal]:
    """Queued, waiting or abandoned to running: begin or resume work on jobs."""
    rows = [
        (want.job_id, want.message_id, want.attempt, at(want.now), at(want.now + LEASE), token)
        for want, token in ((want, secrets.token_hex(16)) for want in wanted)
    ]
    claimed = update_returning(
        "WITH want(id, message_id, attempt, now, lease_end, token) AS ({rows})"
        " UPDATE jobs_job SET status = 'running', message_id = want.message_id,"
        " attempts = want.attempt, started_at = COALESCE(started_at, want.now),"
        " next_attempt_at = NULL, lease_token = want.token, lease_expires_at = want.lease_end"
        " FROM want WHERE jobs_job.id = want.id AND status NOT IN ('succeeded', 'failed')"
        " AND (status <> 'running' OR lease_expires_at <= want.now)"
        " RETURNING lease_token, sent, requests, target_url",
        rows,
    )
    by_token = {token: rest for token, *rest in claimed}
    claims: list[Claim | Refusal] = []
    for want, (*_, token) in zip(wanted, rows, strict=True):
        if token in by_token:
            sent, requests, target_url = by_token[token]
            claims.append(Claim(want.job_id, token, sent, json.loads(requests), target_url))
        else:
            claims.append(why_not(want.job_id))
    return claims


def why_not(job_id: str) -> Refusal:
    """Why a job could not be claimed."""
    job = Job.objects.filter(id=job_id).first()
    if job is None:
        return UNKNOWN
    held = Refusal("another attempt holds the job", job.lease_expires_at)
    return FINISHED if job.is_finished else held


def note_requests(noted: list[tuple[Claim, datetime]]) -> list[bool]:
    """Note requests that have been answered, and renew the leases.

    False for a job whose lease has gone to someone else.
    """
    renewed = update_all(
        "WITH noted(id, token, sent, requests, lease_end) AS ({rows})"
        " UPDATE jobs_job SET sent = noted.sent, requests = noted.requests,"
        " lease_expires_at = noted.lease_end FROM noted WHERE jobs_job.id = noted.id"
        " AND lease_token = noted.token AND status = 'running'",
        [
            (claim.job_id, claim.token, claim.sent, json.dumps(claim.requests), at(now + LEASE))
            for claim, now in noted
        ],
    )
    tokens = {claim.token for claim, _ in noted}
    if renewed < len(noted):
        held = Job.objects.filter(lease_token__in=tokens, status=Job.Status.RUNNING)
        tokens = set(held.values_list("lease_token", flat=True))
    return [claim.token in tokens for claim, _ in noted]


def end_attempts(ended: list[AttemptEnd]) -> list[bool]:
    """Running to succeeded, or to waiting for the next attempt."""
    moved = update_returning(
        "WITH ended(id, token, status, error, requests, moment) AS ({rows})"
        " UPDATE jobs_job SET status = ended.status, error = ended.error,"
        " requests = ended.requests, lease_token = '',"
        " finished_at = CASE WHEN ended.status = 'succeeded' THEN ended.moment END,"
        " next_attempt_at = CASE WHEN ended.status = 'waiting' THEN ended.moment END"
        " FROM ended WHERE jobs_job.id = ended.id AND lease_token = ended.token"
        " AND jobs_job.status = 'running' RETURNING jobs_job.id",
        [
            (
                end.claim.job_id,
                end.claim.token,
                end.status,
                end.error,
                json.dumps(end.claim.requests),
                at(end.moment),
            )
            for end in ended
        ],
    )
    ids = {job_id for (job_id,) in moved}
    return [end.claim.job_id in ids for end in ended]


def at(moment: datetime | None) -> Any:
    """A moment as the database wants it in SQL of our own."""
    return connection.ops.adapt_datetimefield_value(moment)
