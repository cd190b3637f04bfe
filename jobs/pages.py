"""What the templates show of a job, in words.

No message passes here. A `Card` is a job as a page has it: a row of a list, or the head of the
job's own page, whose history is in `history.py`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import ceil
from typing import Any

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from jobs.attempts import Attempt
from jobs.models import Job

# A job that has not been heard of for this long: ask the queue what became of its message.
QUIET_SECONDS = 2.0

# What a script is told, in this order.
FACTS = """id task message_id status steps_done steps_total attempts return_value error
created_at started_at finished_at"""
BUTTONS = {"not_sent": "Send again", "failed": "Run again", "cancelled": "Run again"}


class Card:
    """A job as a page shows it, and the queue's attempts where it knows more than the job.

    `mine` says whether the visitor may act on it. A page shows `status` as a pill, and beside
    it `says`, the time left until `until`, and the `reason`.
    """

    def __init__(self, job: Job, attempts: Sequence[Attempt] = (), mine: bool = True) -> None:
        self.job, self.status, self.mine, self.attempts = job, str(job.status), mine, attempts
        self.says, self.reason = "", "" if job.status == "running" else job.error
        self.until: datetime | None = None
        # The last attempt, if no message of the job has reached this site yet.
        unheard = attempts[-1] if attempts and job.status == "queued" else None
        number = attempts[-1].number if attempts else job.attempts
        if unheard and unheard.error:
            self.wait(number, unheard.next_at, job.error or unheard.error)
        elif job.status == "waiting":
            self.wait(job.attempts, job.next_attempt_at, job.error)
        elif job.status == "queued" and job.run_after and job.run_after > timezone.now():
            self.status, self.until = "scheduled", job.run_after
        elif job.status == "not_sent" and len(job.refusals) > 1:
            self.says = f"after {len(job.refusals)} tries"
        self.can_cancel = mine and job.status in {"not_sent", "queued", "waiting"}
        self.publish_label = BUTTONS.get(job.status, "") if mine else ""
        # Changes whenever there is something new to announce.
        self.version = f"{len(job.messages)}-{len(job.refusals)}-{number}-{self.status}"

    def wait(self, failed: int, next_at: datetime | None, reason: str) -> None:
        """Attempt `failed` has failed; another one follows, unless it was the last."""
        self.status, self.reason, most = "waiting", reason, self.job.options.get("retries", 0) + 1
        if failed < most:
            self.says, self.until = f"for attempt {failed + 1} of {most}", next_at
        else:
            self.says = f"for the queue to give up: attempt {failed} of {most} failed"

    @property
    def seconds_left(self) -> int:
        """How long it is until `until`, as the page was rendered; site.js counts down."""
        left = (self.until - timezone.now()).total_seconds() if self.until else 0
        return max(0, ceil(left))

    @property
    def times(self) -> str:
        """How long the job has waited and worked since it was last published."""
        if self.job.status in {"queued", "waiting"}:
            return ""
        worked = self.job.worked_seconds if self.job.has_ended else 0
        spans = {"waited": duration(waited_seconds(self.job)), "worked": duration(worked)}
        return ", ".join(f"{name} {span}" for name, span in spans.items() if span)

    @property
    def is_open(self) -> bool:
        """Whether something can still happen without the visitor."""
        return not self.job.has_ended and self.status != "not_sent"


def due_at(job: Job) -> datetime:
    """When a job's newest message was published, or when it was to be delivered."""
    published = moment(job.messages[-1]) if job.messages else job.created_at
    return max(published, job.run_after) if job.run_after else published


def waited_seconds(job: Job) -> float:
    """How long a job's newest message was in the queue, before its attempts and between them.

    0 for a message that was delivered without a wait in the queue that the job knows of.
    """
    begun = job.last_attempted_at or job.started_at
    if not begun or came_another_way(job, begun):
        return 0
    until = job.finished_at if job.has_ended and job.finished_at else begun
    return max(0, (until - due_at(job)).total_seconds() - job.worked_seconds)


def came_another_way(job: Job, begun: datetime) -> bool:
    """Whether the newest attempt's message was sent once more, after the queue had given up."""
    failed = [e for e in job.errors if moment(e) < begun and e["attempt"] >= job.attempts]
    return bool(failed) and moment(failed[-1]) > due_at(job)


def duration(seconds: float) -> str:
    """A measured time for people: `6 ms` or `5.52 s`; empty under a millisecond."""
    if round(seconds, 3) >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.0f} ms" if round(seconds, 3) > 0 else ""


def is_quiet(job: Job) -> bool:
    """Whether a job should have begun by now; if no message arrives, only the queue knows why."""
    age = (timezone.now() - max(job.created_at, job.run_after or job.created_at)).total_seconds()
    return job.status == "queued" and age > QUIET_SECONDS


def moment(record: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(record["at"], UTC)


def message_link(message_id: str) -> str:
    """A message's id; a link to the queue's page of it, where the site shows that."""
    if not (settings.CONSOLE_OPEN or settings.CONSOLE_PASSWORD):
        return message_id
    url = reverse("console_message", args=[message_id])
    return format_html('<a href="{}">{}</a>', url, message_id)


def as_json(job: Job) -> dict[str, Any]:
    """A job for scripts; moments in ISO 8601, UTC."""
    facts = {name: getattr(job, name) for name in FACTS.split()}
    return facts | {"message_id": job.message_id or None, "error": job.error or None}
