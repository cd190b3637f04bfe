"""What an open page is told of jobs: which have changed, and how they look now.

No message passes here. A page has a version: a mark of each job as the page shows it.
`job_changes` in `views.py` compares that with the jobs as they are now.
"""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest
from django.tasks import default_task_backend, task_backends
from django.template.loader import render_to_string

from jobs.attempts import Attempt
from jobs.exceptions import PublishError
from jobs.history import bars, meta, request_facts, response_facts, timeline
from jobs.models import Job, JobQuerySet
from jobs.pages import Card, is_quiet
from jobs.tasks import long_task
from live.memos import Memo
from live.views import News

RECENT = 20
# Every page with an open job asks.
is_stuck = Memo(lambda: default_task_backend.is_stuck(), fresh_seconds=1.0)


def version_of(cards: Sequence[Card], is_stuck: bool, is_settled: bool = False) -> str:
    """The version of a page with these jobs: `<is stuck><newest is settled>-<mark>-<mark>…`."""
    return "-".join([f"{is_stuck:d}{is_settled:d}", *map(mark_of, cards)])


def mark_of(card: Card) -> str:
    """`<digest>.<steps done>`: only the number changes with most of the steps.

    The first step changes both. What shows a job after that has shown it whole since it runs,
    even if the answer to the click came late and showed it as queued once more.
    """
    job = card.job
    shown = (job.id, card.version, card.says, card.until, card.reason, job.steps_done > 0)
    return f"{crc32(repr((*shown, job.steps_total)).encode()):x}.{job.steps_done}"


def is_same(version: str, since: str) -> bool:
    """Whether two pages show the same."""
    return version == since


def changed_since(since: str, cards: Sequence[Card]) -> list[Card]:
    """The cards that look different on a page of this version, or are not there."""
    marks = set(since.split("-")[1:])
    return [card for card in cards if mark_of(card) not in marks]


def only_stepped(since: str, cards: Sequence[Card]) -> list[Card]:
    """Those of the cards that only have more steps than on a page of this version."""
    digests = {mark.partition(".")[0] for mark in since.split("-")[1:]}
    return [card for card in cards if mark_of(card).partition(".")[0] in digests]


async def cards_of(jobs: JobQuerySet) -> list[Card]:
    """The newest of some jobs. The queue is asked about those that should have begun."""
    found = await sync_to_async(list)(jobs[:RECENT])
    return [Card(job, await attempts_at(job) if is_quiet(job) else []) for job in found]


async def list_news(request: HttpRequest, since: str, cards: Sequence[Card]) -> News | None:
    """What has changed of a list of jobs, and of the newest one's strip above it.

    How the last attempt was settled is known to the queue alone, a moment after the job's end.
    """
    attempts: Sequence[Attempt] = cards[0].attempts if cards else []
    was_settled = since[1:2] == "1" and not changed_since(since, cards[:1])
    if cards and cards[0].job.has_ended and not was_settled:
        attempts = await attempts_at(cards[0].job)
    is_settled = was_settled or bool(attempts and attempts[-1].seconds is not None)
    queue_is_stuck = await stuck(cards)
    version = version_of(cards, queue_is_stuck, is_settled)
    if is_same(version, since):
        return None
    changed = changed_since(since, cards)
    stepped = only_stepped(since, changed)
    told: dict[str, Any] = {"stepped": stepped}
    if since[:1] != version[:1]:
        told["stuck"] = queue_is_stuck
    if stepped[:1] == cards[:1]:
        told["strip_steps"] = cards[0].job
    elif changed[:1] == cards[:1] or is_settled != was_settled:
        told |= {"newest": cards[0].job, "attempts": attempts}
    return News(row_news(request, [c for c in changed if c not in stepped], **told), version)


def row_news(request: HttpRequest, cards: Sequence[Card], **context: Any) -> str:
    """Rows as htmx swaps them into a list of jobs: new ones at its top."""
    return render_to_string("jobs/news.html", {"cards": cards, **context}, request)


async def stuck(cards: Sequence[Card]) -> bool:
    """Whether the queue is stuck; asked only if a job waits for it."""
    return any(card.is_open for card in cards) and await is_stuck.get()


async def attempts_at(job: Job) -> list[Attempt]:
    """The queue's attempts at a job: what became of a message that has not come, or was settled."""
    try:
        attempts: list[Attempt] = await task_backends[job.backend].attempts(job)
    except PublishError:
        return []
    return attempts


async def detail(job: Job, visitor: str) -> dict[str, Any]:
    """What a job's own page shows: the card, its history, and what was sent and answered."""
    attempts: list[Attempt] = []
    unknown = ""
    try:
        attempts = await task_backends[job.backend].attempts(job)
    except PublishError as error:
        unknown = str(error)
    card = Card(job, attempts, mine=job.owner == visitor)
    lines, queue_is_stuck = timeline(job, attempts), await stuck([card])
    facts = {"Request": request_facts(job), "Response": response_facts(job, attempts)}
    return {
        "card": card,
        "mine": card.mine,
        "attempts": attempts,
        "bars": bars(job, attempts),
        "timeline": lines,
        "attempts_unknown": unknown,
        "facts": facts | {"Job": meta(job)},
        "catcher_url": "" if settings.LONG_TASK_TARGET_URL else target_of(job),
        "stuck": queue_is_stuck,
        "version": version_of([card], queue_is_stuck) + f"-{crc32(repr((lines, unknown)).encode()):x}",
    }


def target_of(job: Job) -> str:
    """Where a job's requests can be seen."""
    return str(job.args[0]) if job.task == long_task.module_path and job.args else ""
