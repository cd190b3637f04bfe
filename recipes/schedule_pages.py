"""The page of the schedules: a cron field that is read back, the schedules, their runs.

No message passes here. `schedules.py` makes and changes them at the queue.
"""

from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from jobs.changes import Page, cards_of
from jobs.example_job import Example
from jobs.exceptions import PublishError
from jobs.pages import Card
from jobs.strip import Strip
from jobs.views import redirect_after_post, target_for, visitor_of
from live.views import News, live
from recipes import schedules
from recipes.cron import LONGEST, CronError, Reading, read
from recipes.results import jobs_of, news_of, show, started, topics_of, way_of

EVERY_MINUTE = "* * * * *"


class Field(NamedTuple):
    """What is in the cron field, and how it is read, or why it is not."""

    cron: str
    reading: Reading | None
    error: str


@never_cache
@require_safe
async def schedule(request: HttpRequest) -> HttpResponse:
    """The cron field, this visitor's schedules, and their runs."""
    return await schedule_page(request)


@live(topics_of)
async def schedule_changes(request: HttpRequest, since: str) -> News | None:
    """What has changed on the open page: a new run moves the schedules' next moments, too."""
    cards = await cards_of(jobs_of(request, schedules.tick))
    news = await news_of(request, since, cards, [strip_of(cards)])
    if news and cards and not Page.of_version(since).has(cards[0]):
        with suppress(PublishError):
            return news._replace(html=news.html + await next_moments(visitor_of(request)))
    return news


async def next_moments(owner: str) -> str:
    """When the visitor's schedules run next, each as it stands in its row."""
    kept = await schedules.kept_by(owner, timezone.now())
    template = "recipes/schedule.html#next"
    return "".join(render_to_string(template, {"kept": each, "news": True}) for each in kept)


@require_safe
async def read_cron(request: HttpRequest) -> HttpResponse:
    """How a cron expression is read, while it is typed."""
    return render(request, "recipes/schedule.html#reading", {"field": field_of(request)})


@require_POST
async def start_schedule(request: HttpRequest) -> HttpResponse:
    """Make a schedule, or only read the cron field back."""
    cron, now = request.POST.get("cron", "")[: LONGEST + 1], timezone.now()
    if "read" in request.POST:
        return back_with(cron)
    try:
        made = await schedules.start(visitor_of(request), cron, target_for(request), now)
    except CronError:
        return back_with(cron)
    except PublishError as error:
        return await schedule_page(request, failure=str(error))
    if not made:
        few = f"You have {schedules.MOST} schedules already. Delete one first."
        return await schedule_page(request, failure=few, status=409)
    return redirect_after_post("schedule")


def back_with(cron: str) -> HttpResponse:
    """The page once more, with what the visitor has typed."""
    response = redirect("schedule")
    response["Location"] += "?" + urlencode({"cron": cron})
    response.status_code = 303
    return response


@require_POST
async def run_schedule(request: HttpRequest, number: int) -> HttpResponse:
    """Run a schedule's task now."""
    return await changed(request, schedules.run_now(request, number))


@require_POST
async def change_schedule(request: HttpRequest, number: str, action: str) -> HttpResponse:
    """Pause, resume or delete a schedule."""
    return await changed(request, schedules.change(visitor_of(request), number, action))


async def changed(request: HttpRequest, change: Awaitable[None]) -> HttpResponse:
    return await started(request, "schedule", schedule_page, change)


async def schedule_page(
    request: HttpRequest, failure: str = "", status: int | None = None
) -> HttpResponse:
    kept, now = [], timezone.now()
    try:
        kept = await schedules.kept_by(visitor_of(request), now)
    except PublishError as error:
        failure = failure or f"Your schedules are not known. {error}"
    cards = await cards_of(jobs_of(request, schedules.tick))
    context: dict[str, Any] = {
        "field": field_of(request),
        "kept": kept,
        "full": len(kept) >= schedules.MOST,
        "most": schedules.MOST,
        "strip": strip_of(cards),
        "failure": failure,
    } | ({"status": status} if status else {})
    code = (schedules.start, schedules.tick, schedules.end_old)
    return await show(request, "schedule", cards, *code, **context)


def strip_of(cards: list[Card]) -> Strip:
    return way_of(next(iter(cards), None), Example(schedules.tick, start_schedule, "schedule"))


def field_of(request: HttpRequest) -> Field:
    """The cron field as the request has it, every minute by default."""
    cron = request.GET.get("cron", EVERY_MINUTE)[: LONGEST + 1]
    try:
        return Field(cron, read(cron, timezone.now()), "")
    except CronError as error:
        return Field(cron, None, str(error))
