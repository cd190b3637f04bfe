"""What a box of the strip opens to: the real thing of a job, and the lines that do it.

No message passes here. The message is made anew from the job, as `interface.py` makes it; the
request is what its receiver has noted on the job.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.tasks import task_backends
from django.tasks.exceptions import InvalidTaskBackend, TaskException
from django.urls import NoReverseMatch, reverse

from jobs.attempts import Attempt
from jobs.backends import EmbeddedQueue, HostedQueue
from jobs.exceptions import PublishError
from jobs.excerpts import Excerpt, excerpt
from jobs.interface import JobTask, letter_for, task_of
from jobs.models import Job
from jobs.pages import message_link
from jobs.publishers import publisher_of
from jobs.receiving import receive
from jobs.signatures import verify

LONGEST_TEXT = 4000
MOST_STEPS = 100
KEYS = ("the current key", "the next key")
MOMENTS = {"exp": "valid until", "nbf": "valid from", "iat": "signed at"}

type Facts = list[tuple[str, Any]]
type Source = Callable[..., Any]


class Details(NamedTuple):
    """Names and values, longer texts with their titles, steps, and our own code.

    `steps` are the newest of `Job.log`, or None for a box that has none.
    """

    facts: Facts
    texts: list[tuple[str, str]]
    excerpts: list[Excerpt]
    steps: list[dict[str, Any]] | None = None


def details_of(key: str, job: Job, attempts: Sequence[Attempt], view: Source | None) -> Details:
    """What the box `key` opens to: browser, queue, post or task."""
    if key == "browser":
        return browser_details(job, view)
    if key == "queue":
        return queue_details(job, attempts)
    return post_details(job, attempts) if key == "post" else task_details(job)


def browser_details(job: Job, view: Source | None) -> Details:
    """The form, and what it was answered; or what the queue has published by itself."""
    from jobs.views import start_job  # which shows the strip

    view = view or start_job
    if (publisher := publisher_of(job)) != "form":
        schedule = job.received.get("headers", {}).get("Upstash-Schedule-Id", "")
        facts: Facts = [("Published by", f"the queue, as its {publisher} says"), ("Job", job.id)]
        facts += [("Schedule", schedule)] * bool(schedule)
        return Details([*facts, ("Saved", in_utc(job.created_at))], [], [excerpt(view)])
    facts = [("Form", f"POST {path_to(view)}"), ("csrfmiddlewaretoken", "masked")]
    if job.message_id:
        facts.append(("Answer", f"Started job with ID {job.messages[0]['id']}"))
    elif job.error:
        facts.append(("Answer", f"Failed to start background job. {job.error}"))
    facts += [("Job", job.id), ("Saved", in_utc(job.created_at))]
    return Details(facts, [], [excerpt(view)])


def path_to(view: Source) -> str:
    """The path of a view whose URL has the view's own name."""
    try:
        return reverse(view.__name__)
    except NoReverseMatch:
        return ""


def queue_details(job: Job, attempts: Sequence[Attempt]) -> Details:
    """The message with its headers, and what the queue's log says of it."""
    is_example = job._state.adding
    message = job.message_id if is_example or not job.message_id else message_link(job.message_id)
    facts: Facts = [("Message", message or "none yet")]
    texts: list[tuple[str, str]] = []
    try:
        letter = letter_for(job, task_of(job))
        facts += [("To", letter.url), *letter.headers.items()]
        texts.append(("Body", cut(letter.body.decode())))
    except (PublishError, TaskException):
        facts.append(("Task", f"{job.task} is not there any more, or this site has no URL."))
    facts += [(f"Attempt {attempt.number}", in_words(attempt)) for attempt in attempts]
    return Details(facts, texts, [excerpt(letter_for), excerpt(publishing_of(job))])


def publishing_of(job: Job) -> Source:
    """What hands the message to the job's queue."""
    try:
        hosted = isinstance(task_backends[job.backend], HostedQueue)
    except InvalidTaskBackend:
        hosted = bool(settings.QSTASH_TOKEN)
    return HostedQueue.hand_over if hosted else EmbeddedQueue.publication


def in_words(attempt: Attempt) -> str:
    """How an attempt went, such as `HTTP 503 after 0.12 s, again at 12:00:03 UTC`."""
    if attempt.seconds is None:
        return f"since {attempt.at:%H:%M:%S} UTC"
    outcome = f"HTTP {attempt.status}" if attempt.status else attempt.error
    again = f", again at {attempt.next_at:%H:%M:%S} UTC" if attempt.next_at else ""
    return f"{outcome} after {attempt.seconds:.2f} s{again}"


def post_details(job: Job, attempts: Sequence[Attempt]) -> Details:
    """The newest request that the endpoint has believed: its headers, claims and verdict."""
    claims, headers = job.received.get("claims", {}), job.received.get("headers", {})
    facts: Facts = []
    if refused := [attempt for attempt in attempts[-1:] if attempt.status == 403]:
        facts.append(("Verdict", f"refused: attempt {refused[0].number} got HTTP 403"))
    if claims:
        facts += [("POST", claims.get("sub", "")), *headers.items()]
        facts.append(("Upstash-Signature", "eyJ… masked, and kept nowhere"))
        facts += [(f"Claim {name}", claim(name, value)) for name, value in claims.items()]
        facts.append(("Verdict", f"The signature fits: {signed_with(claims)}, this URL, this body"))
    elif not refused:
        facts.append(("Request", "None has arrived yet."))
    facts = [(name, value) for name, value in facts if name != "Claim key"]
    return Details(facts, [], [excerpt(verify), excerpt(receive)])


def signed_with(claims: dict[str, Any]) -> str:
    number = claims.get("key")
    return KEYS[number] if number in (0, 1) else "one of our keys"


def claim(name: str, value: Any) -> str:
    """A claim's value; a moment with the time of day."""
    if name in MOMENTS and isinstance(value, int) and 0 < value < 2**32:
        return f"{value}, {MOMENTS[name]} {datetime.fromtimestamp(value, UTC):%H:%M:%S} UTC"
    return cut(str(value), 500)


def task_details(job: Job) -> Details:
    """The call, its steps, and what it returned or raised."""
    facts: Facts = [("Task", job.task), ("Arguments", cut(as_text(job.args, job.kwargs), 500))]
    if job.return_value is not None:
        facts.append(("Returned", cut(json.dumps(job.return_value, ensure_ascii=False), 500)))
    for error in job.errors:
        facts.append((f"Attempt {error['attempt']} raised", error["text"]))
    try:
        task: JobTask | None = task_of(job)
    except TaskException:
        task = None
    return Details(facts, [], [excerpt(task.func)] if task else [], job.log[-MOST_STEPS:])


def as_text(args: list[Any], kwargs: dict[str, Any]) -> str:
    """Arguments as they stand in a call."""
    named = [f"{name}={value!r}" for name, value in kwargs.items()]
    return ", ".join([*map(repr, args), *named]) or "none"


def cut(text: str, longest: int = LONGEST_TEXT) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def in_utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
