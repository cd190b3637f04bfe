"""The strip above the jobs: browser, queue, signed POST, task, and the status that comes back.

No message passes here. Each box says what is known of one part of a job's way: from the job's
row, and from the queue's log where it is at hand. Without a job, the strip is an example. What
a box opens to is in `strip_details.py`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from math import ceil
from typing import Any, NamedTuple
from zlib import crc32

from django.template.loader import render_to_string
from django.utils import timezone

from jobs.attempts import Attempt
from jobs.excerpts import Excerpt
from jobs.models import Job
from jobs.pages import moment
from jobs.strip_details import Details, details_of

NAMES = {"browser": "Browser", "queue": "Queue", "post": "Signed POST", "task": "Your task"}


class Told(NamedTuple):
    """What a box says: a state with the word for it, and a line of text.

    `state` is one of components/state.html; empty for a part of the way that is still ahead.
    `seconds` is what it took, `until` the moment that it waits for.
    """

    state: str = ""
    word: str = ""
    text: str = ""
    seconds: float | None = None
    until: datetime | None = None

    @property
    def took(self) -> str:
        """The measured time for people: `6 ms` or `5.52 s`."""
        if self.seconds is None:
            return ""
        return f"{self.seconds:.2f} s" if self.seconds >= 1 else f"{self.seconds * 1000:.0f} ms"

    @property
    def seconds_left(self) -> int:
        """How long it is until `until`, as the page was rendered; site.js counts down."""
        left = (self.until - timezone.now()).total_seconds() if self.until else 0
        return max(0, ceil(left))


class Box(NamedTuple):
    """One of the four boxes. A page replaces its parts only where their versions differ."""

    key: str
    name: str
    told: Told
    details: Details

    @property
    def head_version(self) -> str:
        return version(self.told)

    @property
    def facts_version(self) -> str:
        return version(self.details.facts, self.details.texts)

    @property
    def code(self) -> str:
        """The lines of code, which are the same for every job of a task."""
        return rendered_code(tuple(self.details.excerpts))

    @property
    def code_version(self) -> str:
        return version(*((each.file, each.line) for each in self.details.excerpts))


@cache
def rendered_code(excerpts: tuple[Excerpt, ...]) -> str:
    return render_to_string("jobs/strip_excerpts.html", {"excerpts": excerpts})


class Strip:
    """A job's way as four boxes and the arrow back; an example if there is no job.

    `attempts` are the queue's (`JobBackend.attempts`), if they have been asked for. `view` is
    what the form was posted to, and `name` begins the ids: give a page's second strip another.
    """

    def __init__(
        self, job: Job | None, attempts: Sequence[Attempt] = (), view: Any = None, name: str = "way"
    ) -> None:
        self.job, self.name = job, name
        attempts = at_newest_message(job, attempts)
        told = [tell(job, attempts) for tell in (tell_browser, tell_queue, tell_post, tell_task)]
        self.boxes = [
            Box(key, NAMES[key], each, details_of(key, job, attempts, view))
            for key, each in zip(NAMES, told, strict=True)
        ]

    @property
    def label(self) -> str:
        if self.job:
            return f"The way of job {self.job.id[:8]}"
        which = "" if self.name == "way" else f" ({self.name.replace('-', ' ')})"
        return f"The way of a job: an example{which}"

    @property
    def back_version(self) -> str:
        return version(self.job.id, self.job.status) if self.job else ""


def strip_fragment(
    job: Job, attempts: Sequence[Attempt] = (), view: Any = None, code: bool = True
) -> str:
    """The parts of a strip as out-of-band swaps: site.js skips those that have not changed.

    A job's code stays the same: it may be left out for a page that shows the job already.
    """
    context = {"strip": Strip(job, attempts, view), "news": True, "without_code": not code}
    return render_to_string("jobs/strip_news.html", context)


def steps_fragment(job: Job, shown: int) -> str:
    """What changes with a step: the head of the task's box, and the steps that are not shown."""
    box = Box("task", NAMES["task"], tell_task(job, []), details_of("task", job, [], None))
    steps = [step for step in job.log if step["number"] > shown]
    context = {"strip": {"name": "way", "job": job}, "box": box, "steps": steps, "news": True}
    return render_to_string("jobs/strip_step_news.html", context)


def version(*contents: Any) -> str:
    """A short text that differs where the contents do."""
    return f"{crc32(repr(contents).encode()):08x}"


def tell_browser(job: Job | None, attempts: Sequence[Attempt]) -> Told:
    """The form has been posted: was there an answer from the queue?"""
    if job is None:
        return Told(text="posts the form to /jobs/start")
    if not job.messages:
        if job.error:
            return Told("not_sent", text=job.error)
        return Told("running", "publishing", text="the queue has not answered yet")
    took = (moment(job.messages[0]) - job.created_at).total_seconds()
    return Told("succeeded", "published", text="in", seconds=max(0.0, took))


def tell_queue(job: Job | None, attempts: Sequence[Attempt]) -> Told:
    """The message waits, has been handed over, or is a dead letter."""
    if job is None:
        return Told(text="keeps the message until it is delivered")
    if not job.messages:
        return Told()
    if job.status == "cancelled":
        return Told("cancelled", text="message deleted")
    if job.status == "failed":
        return Told("failed", "gave up", text="kept as a dead letter")
    if failure := failed_attempt(job, attempts):
        return tell_retry(job, failure)
    if job.status == "queued" and not attempts:
        if job.run_after and job.run_after > timezone.now():
            return Told("scheduled", until=job.run_after)
        return Told("queued", text="waits to be delivered")
    begun = attempts[-1].at if attempts else job.last_attempted_at
    waited = (begun - waiting_since(job)).total_seconds() if begun else 0
    if waited <= 0:  # the job has heard of this message only when it came: a retried dead letter
        return Told("succeeded", "delivered")
    return Told("succeeded", "delivered", "waited", waited)


def tell_retry(job: Job, failure: Attempt) -> Told:
    """Back in the queue after an attempt that failed."""
    most = job.options.get("retries", 0) + 1
    if failure.number >= most:
        return Told("waiting", "giving up", text=f"attempt {failure.number} of {most} failed")
    word = f"attempt {failure.number + 1} of {most}"
    return Told("waiting", word, text=failure.error, until=failure.next_at)


def tell_post(job: Job | None, attempts: Sequence[Attempt]) -> Told:
    """The signed request: on its way, refused, or answered."""
    if job is None:
        return Told(text="calls /api/long-task, signed")
    last = attempts[-1] if attempts else None
    number = last.number if last else job.attempts
    if not number:
        return Told()
    if last and last.seconds is not None:
        word = f"HTTP {last.status}" if last.status else "no answer"
        state = "succeeded" if last.status and 200 <= last.status <= 299 else "failed"
        text = "" if last.status else last.error
        return Told(state, word, text or f"attempt {number}:", last.seconds)
    if job.status == "running" or last:
        return Told("running", f"attempt {number}", text=checked(job))
    if job.status == "succeeded":
        return Told("succeeded", f"attempt {number}", text=checked(job))
    return Told("failed", f"attempt {number}", text="asked to come again")


def tell_task(job: Job | None, attempts: Sequence[Attempt]) -> Told:
    """Your function: how many steps are noted, what it returned or raised."""
    if job is None:
        return Told(text="does ten steps, and notes each")
    steps = f"{job.steps_done} of {job.steps_total} steps" if job.steps_total else ""
    if job.status == "running":
        return Told("running", text=steps)
    if job.status == "succeeded":
        begun, ended = job.last_attempted_at or job.created_at, job.finished_at or timezone.now()
        took = (ended - begun).total_seconds()
        return Told("succeeded", text=f"{steps} in" if steps else "in", seconds=took)
    if job.status in {"waiting", "failed"} and job.attempts:
        state = "waiting" if job.status == "waiting" else "failed"
        return Told(state, "failed", text=job.error)
    return Told(text=job.task.rpartition(".")[2])


def at_newest_message(job: Job | None, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """Leave out the attempts at a message that was published before the newest one.

    A message's moment on the job may be a little after its first attempt began.
    """
    if job is None or len(job.messages) < 2:
        return attempts
    published = moment(job.messages[-1]) - timedelta(seconds=1)
    return [attempt for attempt in attempts if attempt.at >= published]


def checked(job: Job) -> str:
    return "signature checked" if job.last_attempted_at else ""


def failed_attempt(job: Job, attempts: Sequence[Attempt]) -> Attempt | None:
    """The attempt after which the message went back to the queue, if it is there now."""
    if attempts and attempts[-1].error and job.status in {"queued", "waiting"}:
        at = attempts[-1]
        return at._replace(error=job.error or at.error, next_at=at.next_at or job.next_attempt_at)
    if job.status != "waiting":
        return None
    begun = job.last_attempted_at or job.created_at
    return Attempt(job.attempts, begun, error=job.error, next_at=job.next_attempt_at)


def waiting_since(job: Job) -> datetime:
    """When the newest message was published, or when the attempt before this one failed."""
    published = moment(job.messages[-1])
    failed = [moment(error) for error in job.errors]
    return max([published, *[at for at in failed if at <= (job.last_attempted_at or at)]])
