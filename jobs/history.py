"""A job's history and particulars, as its own page shows them.

No message passes here. The history puts together what the job has noted and what the queue's
log says of its messages; the particulars are what was sent and what came back.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from django.tasks.exceptions import TaskException
from django.utils import timezone

from jobs.attempts import Attempt
from jobs.exceptions import PublishError
from jobs.interface import letter_for, task_of
from jobs.models import Job
from jobs.pages import due_at, duration, message_link, moment
from jobs.retries import retry_delay

MOST_DELAYS = 5
NARROWEST = 1  # percent: a bar that can be seen

type Facts = list[tuple[str, object]]


class TimelineEntry(NamedTuple):
    """A line of a job's timeline; `kind` is message, attempt, step, error or end."""

    at: datetime
    kind: str
    text: str


def timeline(job: Job, attempts: Sequence[Attempt]) -> list[TimelineEntry]:
    """Everything that is known of a job, oldest first."""
    entries = [TimelineEntry(job.created_at, "message", "saved")]
    for refusal in job.refusals:
        entries.append(TimelineEntry(moment(refusal), "error", f"not published: {refusal['text']}"))
    for message in job.messages:
        entries.append(TimelineEntry(moment(message), "message", f"published as {message['id']}"))
    for attempt in attempts:
        text = f"attempt {attempt.number}: {outcome(job, attempt)}"
        entries.append(TimelineEntry(attempt.at, "attempt", text))
    for step in job.log:
        text = f"step {step['number']}: {step['text']}"
        entries.append(TimelineEntry(moment(step), "step", text))
    for error in job.errors:
        entries.append(TimelineEntry(moment(error), "error", error["text"]))
    if job.finished_at:
        entries.append(TimelineEntry(job.finished_at, "end", job.get_status_display()))
    # Some moments are rounded to milliseconds; what happened within one stays in this order.
    return sorted(entries, key=lambda entry: round(entry.at.timestamp(), 3))


def outcome(job: Job, attempt: Attempt) -> str:
    """What came of an attempt. The job may know that it has ended before the queue's log does."""
    if attempt.seconds is not None:
        answer = f"HTTP {attempt.status}" if attempt.status else attempt.error
        return f"{answer} after {attempt.seconds:.2f} s"
    if not (ended_at := end_of(job, attempt)):
        return "under way"
    word = "succeeded" if job.status == Job.Status.SUCCEEDED else "ended"
    return f"{word} after {(ended_at - attempt.at).total_seconds():.2f} s"


def end_of(job: Job, attempt: Attempt) -> datetime | None:
    """When an attempt has ended: as the queue's log says, or else the job; None if it runs."""
    if attempt.seconds is not None:
        return attempt.ended_at
    noted = [moment(error) for error in job.errors]
    noted += [job.finished_at] if job.finished_at else []
    return min((at for at in noted if at >= attempt.at), default=None)


class Bar(NamedTuple):
    """A span of a job's time, as components/bars.html draws it; in percent of all of it."""

    state: str
    start: float
    width: float
    label: str


def bars(job: Job, attempts: Sequence[Attempt]) -> list[Bar]:
    """Where a job's time went: waiting, each attempt, and the pauses between them."""
    begun = min(due_at(job), attempts[0].at) if attempts else due_at(job)
    parts = list(spans(job, attempts, begun))
    ends = [end for _, _, end, _ in parts]
    whole = max((max(ends, default=begun) - begun).total_seconds(), 0.001)
    drawn = []
    for state, start, end, label in parts:
        width = max(NARROWEST, (end - start).total_seconds() / whole * 100)
        left = min((start - begun).total_seconds() / whole * 100, 100 - width)
        drawn.append(Bar(state, round(max(0, left), 2), round(width, 2), label))
    return drawn


type Span = tuple[str, datetime, datetime, str]


def spans(job: Job, attempts: Sequence[Attempt], begun: datetime) -> Iterator[Span]:
    """(state, start, end, label) for each part of a job's time, from `begun` on."""
    now, at = timezone.now(), begun
    for attempt in attempts:
        name = "pause" if at > begun else "waited"
        if took := duration((attempt.at - at).total_seconds()):
            yield "queued", at, attempt.at, f"{name} {took}"
        ended_at = end_of(job, attempt)
        state = "running" if ended_at is None else result(job, attempt)
        at = max(at, ended_at or now)
        yield state, attempt.at, at, f"attempt {attempt.number}: {outcome(job, attempt)}"
    if not job.has_ended and not (attempts and end_of(job, attempts[-1]) is None) and now > at:
        yield "waiting" if attempts else "queued", at, now, "waits"


def result(job: Job, attempt: Attempt) -> str:
    """How an attempt that has ended is coloured: by its own answer, once that is known."""
    if attempt.seconds is None:
        return "succeeded" if job.status == Job.Status.SUCCEEDED else "failed"
    return "succeeded" if attempt.has_succeeded else "failed"


def request_facts(job: Job) -> Facts:
    """What the queue delivers: the address, the headers that are its options, the body."""
    try:
        letter = letter_for(job, task_of(job))
    except (PublishError, TaskException) as error:
        return [("Not known", str(error))]
    headers = letter.headers | {"Upstash-Retry-Delay": retry_delay_in_words(job)}
    body = json.dumps(json.loads(letter.body), ensure_ascii=False)
    return [("POST", letter.url), *headers.items(), ("Body", body)]


def retry_delay_in_words(job: Job) -> str:
    """The expression of the retry delay, and the first delays that it gives."""
    task = task_of(job)
    job = Job(options=task.options)
    delays = [retry_delay(job, n).total_seconds() for n in range(min(task.retries, MOST_DELAYS))]
    words = ", then ".join(f"{delay:g} s" for delay in delays)
    return f"{task.retry_delay} (waits {words})" if words else task.retry_delay


def response_facts(job: Job, attempts: Sequence[Attempt]) -> Facts:
    """What came back: the last answer to the queue, and what the task has returned."""
    answered = [attempt for attempt in attempts if attempt.seconds is not None]
    facts: Facts = [("Attempts", len(attempts) or job.attempts)]
    if answered:
        last = answered[-1]
        facts.append(("Last answer", f"HTTP {last.status}" if last.status else last.error))
    if job.status == Job.Status.SUCCEEDED:
        facts.append(("Returned", json.dumps(job.return_value, ensure_ascii=False)))
    return facts


def meta(job: Job) -> Facts:
    """What the job is."""
    facts: Facts = [("Id", job.id), ("Task", job.task), ("Queue", job.backend)]
    facts += [("Message", message_link(message["id"])) for message in job.messages]
    if names := list(dict.fromkeys(job.workers)):
        facts.append(("Worker" if len(names) == 1 else "Workers", ", ".join(names)))
    return facts
