"""What an open page is told of jobs: which have changed, and how they look now.

No message passes here. A page has a version: when it was rendered, and a digest of what it
shows. `job_changes` in `views.py` compares that with the jobs as they are now.
"""

from collections.abc import AsyncIterable, Iterable, Sequence
from typing import Any
from zlib import crc32

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest
from django.tasks import default_task_backend, task_backends
from django.template.loader import render_to_string
from django.utils import timezone

from jobs.attempts import Attempt
from jobs.deliveries import deliveries
from jobs.exceptions import PublishError
from jobs.history import bars, meta, request_facts, response_facts, timeline
from jobs.models import Job
from jobs.pages import Card, is_quiet
from jobs.tasks import long_task
from live.views import News

# A change is stamped before it is committed, perhaps by another machine: look back this far.
# A row that comes twice does no harm, as site.js replaces only what is different.
LATE_SECONDS = 5
MS_DIGITS = 13  # of unix milliseconds until the year 2286


def version_of(cards: Sequence[Card], is_stuck: bool) -> str:
    """The version of a page with these jobs: `<unix ms>-<digest>-<1 if the queue is stuck>`."""
    shown = [(c.job.id, c.version, c.job.steps_done, answers(c.attempts)) for c in cards]
    return f"{timezone.now().timestamp() * 1000:.0f}-{crc32(repr(shown).encode()):x}-{is_stuck:d}"


def answers(attempts: Iterable[Attempt]) -> list[int | None]:
    """What is new in a queue's log: another attempt, or the answer to one."""
    return [attempt.status for attempt in attempts]


def is_same(version: str, since: str) -> bool:
    """Whether two pages show the same, whenever they were rendered."""
    return version.partition("-")[2] == since.partition("-")[2]


def changed_since(since: str, cards: Sequence[Card]) -> list[Card]:
    """The cards that may look different from those on a page of this version."""
    ms = since.partition("-")[0]
    after = int(ms) / 1000 - LATE_SECONDS if ms.isdecimal() and len(ms) == MS_DIGITS else 0
    # A queued job may look different without a change to its row: only the queue knows why.
    return [c for c in cards if c.job.status == "queued" or c.job.changed_at.timestamp() > after]


async def list_news(request: HttpRequest, since: str, cards: Sequence[Card]) -> News | None:
    """What has changed of a list of jobs, and of the newest one's strip above it."""
    is_stuck = await stuck(cards)
    version = version_of(cards, is_stuck)
    if is_same(version, since):
        return None
    changed = changed_since(since, cards)
    told: dict[str, Any] = {}
    if since.split("-")[2:] != version.split("-")[2:]:
        told["stuck"] = is_stuck
    if changed and changed[0] is cards[0]:
        told |= {"newest": cards[0].job, "attempts": cards[0].attempts}
    return News(row_news(request, changed, **told), version)


def row_news(request: HttpRequest, cards: Sequence[Card], **context: Any) -> str:
    """Rows as htmx swaps them into a list of jobs: new ones at its top."""
    return render_to_string("jobs/news.html", {"cards": cards, **context}, request)


async def stuck(cards: Sequence[Card]) -> bool:
    """Whether the queue is stuck; asked only if a job waits for it."""
    waits = any(card.is_open for card in cards)
    return waits and await sync_to_async(default_task_backend.is_stuck)()


async def attempts_at(job: Job) -> list[Attempt]:
    """The queue's attempts at a job: what became of a message that has not come, or was settled."""
    try:
        attempts: list[Attempt] = await task_backends[job.backend].attempts(job)
    except PublishError:
        return []
    return attempts


async def attempts_known(job: Job | None, drawn: bool = True) -> list[Attempt]:
    """The queue's attempts, where it knows more than the job: of a quiet one, and of one that
    has ended if its way is drawn. It is not asked of each step of a job that runs.
    """
    if job and (is_quiet(job) or (drawn and job.has_ended)):
        return await attempts_at(job)
    return []


async def cards_of(jobs: AsyncIterable[Job], drawn: int = 1) -> list[Card]:
    """Jobs as rows, newest first; the ways of the first `drawn` are drawn."""
    cards: list[Card] = []
    async for job in jobs:
        cards.append(Card(job, await attempts_known(job, len(cards) < drawn)))
    return cards


async def detail(job: Job, visitor: str) -> dict[str, Any]:
    """What a job's own page shows: the card, its history, and what was sent and answered."""
    attempts: list[Attempt] = []
    unknown = ""
    try:
        attempts = deliveries(job, await task_backends[job.backend].attempts(job))
    except PublishError as error:
        unknown = str(error)
    card = Card(job, attempts, mine=job.owner == visitor)
    lines, is_stuck = timeline(job, attempts), await stuck([card])
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
        "stuck": is_stuck,
        "version": version_of([card], is_stuck) + f"-{crc32(repr((lines, unknown)).encode()):x}",
    }


def target_of(job: Job) -> str:
    """Where a job's requests can be seen."""
    return str(job.args[0]) if job.task == long_task.module_path and job.args else ""
