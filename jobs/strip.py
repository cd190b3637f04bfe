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
from jobs.deliveries import deliveries
from jobs.example_job import EXAMPLE, Example, example_job, example_texts
from jobs.exceptions import CutOff
from jobs.excerpts import Excerpt
from jobs.models import Job
from jobs.pages import duration, moment, waited_seconds
from jobs.publishers import PUBLISHERS, publisher_of
from jobs.strip_details import Details, details_of

KEYS = ("browser", "queue", "post", "task")
TASK = "Your task"


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
        """The measured time for people."""
        return "" if self.seconds is None else duration(self.seconds)

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
    """A job's way as four boxes and the arrow back; the example's if there is no job.

    `attempts` are the queue's (`JobBackend.attempts`), if they have been asked for. `name`
    begins the ids: give a page's second strip another.
    """

    def __init__(
        self,
        job: Job | None,
        attempts: Sequence[Attempt] = (),
        example: Example = EXAMPLE,
        name: str = "way",
    ) -> None:
        self.job, self.name = job, name
        shown = job or example_job(example)
        if job:
            attempts = deliveries(job, at_newest_message(job, attempts))
            told = [tell(job, attempts) for tell in TELL]
        else:
            told = [Told(text=text) for text in example_texts(example)]
        names = PUBLISHERS[publisher_of(shown)].name, "Queue", "Signed POST", TASK
        self.boxes = [
            Box(key, each, says, details_of(key, shown, attempts, example.view))
            for key, each, says in zip(KEYS, names, told, strict=True)
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


def strip_fragment(job: Job, attempts: Sequence[Attempt] = (), code: bool = True) -> str:
    """The parts of a strip as out-of-band swaps: site.js skips those that have not changed.

    A job's code stays the same: it may be left out for a page that shows the job already.
    """
    context = {"strip": Strip(job, attempts), "news": True, "without_code": not code}
    return render_to_string("jobs/strip_news.html", context)


def steps_fragment(job: Job, shown: int) -> str:
    """What changes with a step: the head of the task's box, and the steps that are not shown."""
    box = Box("task", TASK, tell_task(job, []), details_of("task", job, [], None))
    steps = [step for step in job.log if step["number"] > shown]
    context = {"strip": {"name": "way", "job": job}, "box": box, "steps": steps, "news": True}
    return render_to_string("jobs/strip_step_news.html", context)


def version(*contents: Any) -> str:
    """A short text that differs where the contents do."""
    return f"{crc32(repr(contents).encode()):08x}"


def tell_publisher(job: Job, attempts: Sequence[Attempt]) -> Told:
    """What publishes the message: a form that has been posted, or the queue itself."""
    if (publisher := publisher_of(job)) != "form":
        return Told("succeeded", "published", text=PUBLISHERS[publisher].says)
    if not job.messages:
        if job.error:
            return Told("not_sent", text=job.error)
        return Told("running", "publishing", text="the queue has not answered yet")
    took = (moment(job.messages[0]) - job.created_at).total_seconds()
    return Told("succeeded", "published", text="in" if duration(took) else "", seconds=took)


def tell_queue(job: Job, attempts: Sequence[Attempt]) -> Told:
    """The message waits, has been handed over, or is a dead letter."""
    if not job.messages:
        return Told()
    if job.status == "cancelled":
        return Told("cancelled", text="message deleted")
    if job.status == "failed":
        return Told("failed", "gave up", text="kept as a dead letter")
    if failure := failed_attempt(job, attempts):
        return tell_retry(job, failure)
    if job.status == "queued":
        if attempts:
            return Told("succeeded", "delivered")
        if job.run_after and job.run_after > timezone.now():
            return Told("scheduled", until=job.run_after)
        return Told("queued", text="waits to be delivered")
    waited = waited_seconds(job)
    return Told("succeeded", "delivered", "waited" if duration(waited) else "", waited)


def tell_retry(job: Job, failure: Attempt) -> Told:
    """Back in the queue after an attempt that failed."""
    most = job.options.get("retries", 0) + 1
    if failure.number >= most:
        return Told("waiting", "giving up", text=f"attempt {failure.number} of {most} failed")
    word = f"attempt {failure.number + 1} of {most}"
    return Told("waiting", word, text=failure.error, until=failure.next_at)


def tell_post(job: Job, attempts: Sequence[Attempt]) -> Told:
    """The signed request: on its way, refused, or answered."""
    last = attempts[-1] if attempts else None
    number = last.number if last else job.attempts
    if not number or (job.status == "queued" and not last):
        return Told()
    if last and last.seconds is not None:
        word = f"HTTP {last.status}" if last.status else "no answer"
        state = "succeeded" if last.has_succeeded else "failed"
        text = "" if last.status or last.error.startswith(word) else last.error
        return Told(state, word, text or f"attempt {number}:", last.seconds)
    if job.status in {"queued", "running"}:
        return Told("running", f"attempt {number}", text=checked(job))
    if job.status == "waiting":
        said = "not answered in time" if was_cut_off(job) else "answered “try again later”"
        return Told("failed", f"attempt {number}", text=said)
    return Told("failed", f"attempt {number}")


def was_cut_off(job: Job) -> bool:
    """Whether the queue has hung up on the last attempt that failed."""
    return bool(job.errors) and str(job.errors[-1]["exception"]).endswith(f".{CutOff.__name__}")


def tell_task(job: Job, attempts: Sequence[Attempt]) -> Told:
    """Your function: how many steps are noted, what it returned or raised."""
    steps = ""
    if job.steps_total:
        steps = f"{job.steps_done} of {job.steps_total} step{'s' * (job.steps_total != 1)}"
    if job.status == "running":
        return Told("running", text=steps)
    if job.status == "succeeded":
        begun, ended = job.last_attempted_at or job.created_at, job.finished_at or timezone.now()
        took = (ended - begun).total_seconds()
        text = " ".join([steps] * bool(steps) + ["in"] * bool(duration(took)))
        return Told("succeeded", text=text, seconds=took)
    if job.status in {"waiting", "failed"} and job.attempts:
        state = "waiting" if job.status == "waiting" else "failed"
        return Told(state, "failed", text=job.error)
    return Told(text=job.task.rpartition(".")[2])


TELL = (tell_publisher, tell_queue, tell_post, tell_task)


def at_newest_message(job: Job, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """Leave out the attempts at a message that was published before the newest one.

    A message's moment on the job may be a little after its first attempt began.
    """
    if len(job.messages) < 2:
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
