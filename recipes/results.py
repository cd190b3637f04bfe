"""What the page of an example shows of its jobs.

No message passes here. A page says which tasks are its own; their jobs are listed, newest
first, as on the home page, and the newest one's way is drawn above.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse

from jobs.changes import changed_since, is_same, row_news, stuck, version_of
from jobs.example_job import Example
from jobs.exceptions import PublishError
from jobs.excerpts import excerpt
from jobs.interface import JobTask
from jobs.models import Job, JobQuerySet
from jobs.pages import Card
from jobs.signatures import site_url
from jobs.strip import Strip
from jobs.views import redirect_after_post, visitor_of
from live.views import News

RECENT = 20
# A browser without scripts asks for the page again while something can still happen.
REFRESH_SECONDS = 2
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")

type Show = Callable[..., Coroutine[Any, Any, HttpResponse]]


def jobs_of(request: HttpRequest, *tasks: JobTask) -> JobQuerySet:
    """The visitor's newest jobs with one of these tasks, newest first."""
    names = [task.module_path for task in tasks]
    return Job.objects.owned_by(visitor_of(request)).filter(task__in=names)[:RECENT]


def topics_of(request: HttpRequest) -> list[str]:
    """What has to change for there to be news on a page of the visitor's jobs."""
    return [f"jobs:{visitor_of(request)}"]


def way_of(card: Card | None, example: Example, name: str = "way") -> Strip:
    """The strip of a job; the example's if there is no job."""
    if card is None:
        return Strip(None, example=example, name=name)
    return Strip(card.job, card.attempts, example, name)


async def news_of(
    request: HttpRequest, since: str, cards: list[Card], strips: Sequence[Strip]
) -> News | None:
    """What has changed on an open page of this version: its rows, and the ways of its jobs."""
    is_stuck = await stuck(cards)
    version = version_of(cards, is_stuck)
    if is_same(version, since):
        return None
    drawn = [
        render_to_string("jobs/strip_news.html", {"strip": strip, "news": True})
        for strip in strips
        if strip.job
    ]
    rows = row_news(request, changed_since(since, cards), stuck=is_stuck)
    return News("".join([rows, *drawn]), version)


async def show(
    request: HttpRequest, page: str, cards: list[Card], *code: Any, **more: Any
) -> HttpResponse:
    """The page of an example: its jobs, and the code of some functions and tasks.

    `page` is the name of its URL and its template. `failure` says why nothing was started; then
    the status is 503 if no other one is given.
    """
    is_stuck = await stuck(cards)
    context = {
        "cards": cards,
        "stuck": is_stuck,
        "live": {"url": reverse(f"{page}_changes"), "version": version_of(cards, is_stuck)},
        "code": [excerpt(getattr(each, "func", each)) for each in code],
        "refresh": REFRESH_SECONDS if any(card.is_open for card in cards) else 0,
        "unreachable": unreachable(request),
    }
    status = more.pop("status", 503 if more.get("failure") else 200)
    return render(request, f"recipes/{page}.html", context | more, status=status)


async def started(
    request: HttpRequest, page: str, view: Show, publishing: Awaitable[Any]
) -> HttpResponse:
    """Wait for the queue, then go to the page; its view says why if nothing was started.

    A job whose message the queue did not take is on the page, with the reason.
    """
    try:
        await publishing
    except PublishError as error:
        if not error.job:
            return await view(request, failure=str(error))
    return redirect_after_post(page)


def unreachable(request: HttpRequest) -> str:
    """This site's address, if hosted QStash cannot reach it; empty if it can, or need not."""
    site, queue = site_url(request), urlsplit(settings.QSTASH_URL).hostname
    is_local = urlsplit(site).hostname in LOCAL_HOSTS
    return site if settings.QSTASH_TOKEN and is_local and queue not in LOCAL_HOSTS else ""
