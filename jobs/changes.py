"""What an open page is told of jobs: which have changed, and how they look now.

No message passes here. A page has a version: when it was rendered, and a mark of each job.
`job_changes` in `views.py` compares that with the jobs as they are now.
"""

from collections.abc import AsyncIterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple, Self
from zlib import crc32

from django.conf import settings
from django.db.models import Q
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
from live.memos import Memo
from live.together import Together
from live.views import News

RECENT = 20
# A change is stamped before it is committed, perhaps by another machine: look back this far.
LATE_SECONDS = 5
# A page that was told something within this time is told what has changed since; else its jobs
# are read anew.
KNOWN_SECONDS = 60
MS_DIGITS = 13  # of unix milliseconds until the year 2286

# Every page with an open job asks.
is_stuck = Memo(lambda: default_task_backend.is_stuck(), fresh_seconds=1.0)


class Page(NamedTuple):
    """What an open page shows: its version, read.

    `marks` are of its jobs by their ids' beginnings, newest first. `settled` says whether the
    newest one's last attempt is shown as the queue has settled it.
    """

    at: datetime | None = None
    stuck: bool = False
    settled: bool = False
    marks: dict[str, str] = {}

    @classmethod
    def of_version(cls, version: str) -> Self:
        ms, flags, *marks = [*version.split("-"), ""][:-1] if version.count("-") else ["", ""]
        at = None
        if ms.isdecimal() and len(ms) == MS_DIGITS:
            at = datetime.fromtimestamp(int(ms) / 1000, UTC)
        named = {mark.partition(".")[0]: mark for mark in marks}
        return cls(at, flags[:1] == "1", flags[1:] == "1", named)

    @property
    def version(self) -> str:
        """`<unix ms>-<stuck><settled>-<mark>-<mark>…`"""
        now = f"{timezone.now().timestamp() * 1000:.0f}"
        return "-".join([now, f"{self.stuck:d}{self.settled:d}", *self.marks.values()])

    def steps_shown(self, card: Card) -> int | None:
        """How many steps the page shows of a job, if nothing else of it has changed."""
        same, _, steps = self.marks.get(card.job.id[:8], "").rpartition(".")
        is_same = same == mark_of(card).rpartition(".")[0] and steps.isdecimal()
        return int(steps) if is_same else None

    def has(self, card: Card) -> bool:
        """Whether a job is on the page."""
        return card.job.id[:8] in self.marks

    def with_cards(self, cards: Sequence[Card]) -> Self:
        """The page once these are on it, new ones at its top."""
        marks = {mark.partition(".")[0]: mark for mark in map(mark_of, cards)}
        new = {name: mark for name, mark in marks.items() if name not in self.marks}
        shown = new | {name: marks.get(name, mark) for name, mark in self.marks.items()}
        return self._replace(marks=dict(islice(shown.items(), RECENT)))


def mark_of(card: Card) -> str:
    """`<id's beginning>.<digest>.<steps done>`: a step changes only the number."""
    job = card.job
    shown = (job.id, card.version, card.says, card.until, card.reason, job.steps_total)
    return f"{job.id[:8]}.{crc32(repr(shown).encode()):x}.{job.steps_done}"


def version_of(cards: Sequence[Card], is_stuck: bool) -> str:
    """The version of a page with these jobs, and the ways of those that have attempts."""
    drawn = [card.attempts[-1] for card in cards if card.attempts]
    settled = bool(drawn) and all(attempt.ended_at for attempt in drawn)
    return Page(stuck=is_stuck, settled=settled).with_cards(cards).version


def is_same(version: str, since: str) -> bool:
    """Whether two pages show the same, whenever they were rendered."""
    return version.partition("-")[2] == since.partition("-")[2]


def changed_since(since: str, cards: Sequence[Card]) -> list[Card]:
    """The cards that look different on a page of this version, or are not there."""
    marks = since.split("-")
    return [card for card in cards if mark_of(card) not in marks]


def read_changed_jobs(pages: set[tuple[str, datetime]]) -> dict[tuple[str, datetime], list[Job]]:
    """By `(owner, moment)`: the owner's jobs that may look different since then, newest first.

    A queued job may without a change to its row: only the queue knows why.
    """
    changed = Q(changed_at__gt=min(after for _, after in pages)) | Q(status=Job.Status.QUEUED)
    jobs = Job.objects.filter(changed, owner__in={owner for owner, _ in pages})
    found: dict[str, list[Job]] = {}
    for job in jobs.order_by("-created_at", "-id"):
        found.setdefault(job.owner, []).append(job)
    return {page: found.get(page[0], []) for page in pages}


changed_jobs = Together(read_changed_jobs)


async def cards_for(owner: str, since: str, task: str = "") -> list[Card]:
    """The jobs of an owner that may look different on a page of this version, newest first.

    An old job that the page does not have is not one of the newest. The queue is asked about
    those that should have begun.
    """
    page = Page.of_version(since)
    after = (page.at or timezone.now()) - timedelta(seconds=LATE_SECONDS)
    if page.at and timezone.now() - page.at < timedelta(seconds=KNOWN_SECONDS):
        found = await changed_jobs.get((owner, after)) or []
        jobs = [job for job in found if job.id[:8] in page.marks or job.created_at > after]
        jobs = [job for job in jobs if job.task == task or not task]
    else:
        owned = Job.objects.owned_by(owner)
        owned = owned.filter(task=task) if task else owned
        jobs = [job async for job in owned[:RECENT]]
    return [Card(job, await attempts_at(job) if is_quiet(job) else []) for job in jobs]


async def list_news(request: HttpRequest, since: str, cards: Sequence[Card]) -> News | None:
    """What has changed of a list of jobs, and of the newest one's strip above it.

    `cards` may leave out those that are on the page as they are. How the last attempt was
    settled only the queue knows, a moment after the job's end.
    """
    before = Page.of_version(since)
    page = before.with_cards(cards)._replace(stuck=await stuck(cards))
    changed = changed_since(since, cards)
    stepped = [card for card in changed if before.steps_shown(card) is not None]
    told: dict[str, Any] = {"stepped": stepped}
    if page.stuck != before.stuck:
        told["stuck"] = page.stuck
    if cards and cards[0].job.id[:8] == next(iter(page.marks)):
        newest = cards[0]
        settled = before.settled and newest not in changed
        attempts = newest.attempts
        if newest.job.has_ended and not settled:
            attempts = await attempts_at(newest.job)
            settled = bool(attempts and attempts[-1].ended_at)
        page = page._replace(settled=settled)
        if newest in changed and (shown := before.steps_shown(newest)) is not None:
            told |= {"strip_steps": newest.job, "steps_shown": shown}
        elif newest in changed or settled != before.settled:
            is_new = not before.has(newest)
            told |= {"newest": newest.job, "attempts": attempts, "newest_is_new": is_new}
    if is_same(page.version, since):
        return None
    return News(row_news(request, [c for c in changed if c not in stepped], **told), page.version)


def row_news(request: HttpRequest, cards: Sequence[Card], **context: Any) -> str:
    """Rows as htmx swaps them into a list of jobs: new ones at its top."""
    return render_to_string("jobs/news.html", {"cards": cards, **context}, request)


async def stuck(cards: Sequence[Card]) -> bool:
    """Whether the queue is stuck; asked only if a job waits for it."""
    waits = any(card.is_open for card in cards)
    return waits and await is_stuck.get()


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
        "version": version_of([card], queue_is_stuck)
        + f"-{crc32(repr((lines, unknown)).encode()):x}",
    }


def target_of(job: Job) -> str:
    """Where a job's requests can be seen."""
    return str(job.args[0]) if job.task == long_task.module_path and job.args else ""
