"""How an example's job is doing: what its page shows, and what an open page is told.

The message has just been published, or is on its way. Everything here is read from the job,
which `jobs/receiving.py` keeps up to date.
"""

from collections.abc import Awaitable
from typing import Any

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse

from jobs.changes import attempts_known, row_news
from jobs.example_job import Example
from jobs.exceptions import PublishError
from jobs.interface import JobResult, JobTask
from jobs.models import Job
from jobs.pages import Card
from jobs.views import visitor_of
from live.views import News
from recipes.results import REFRESH_SECONDS, unreachable, way_of


async def published(publishing: Awaitable[JobResult]) -> tuple[Job | None, str]:
    """Wait for the queue: the job if it was saved, and why its message was not taken."""
    try:
        return (await publishing).job, ""
    except PublishError as error:
        return error.job, str(error)


async def shown_job(request: HttpRequest, task: JobTask) -> Card | None:
    """The job of this task that `?job=` names, or the visitor's newest one."""
    if job_id := request.GET.get("job"):
        jobs = Job.objects.filter(id=job_id)
    else:
        jobs = Job.objects.owned_by(visitor_of(request))
    return await card_of(request, await jobs.filter(task=task.module_path).afirst())


def version_of(card: Card) -> str:
    """Changes whenever there is something new to show."""
    answers = [attempt.status for attempt in card.attempts]
    return f"{card.version}-{card.job.steps_done}-{answers}"


async def card_of(request: HttpRequest, job: Job | None) -> Card | None:
    """A job as its example's page shows it."""
    if not job:
        return None
    return Card(job, await attempts_known(job), mine=job.owner == visitor_of(request))


def progress(
    request: HttpRequest, card: Card | None, example: Example, changes: str
) -> dict[str, Any]:
    """What a page shows of a job: row and strip, the news to ask for, the refresh without scripts.

    `changes` is the name of the URL that has the news.
    """
    strip = way_of(card, example)
    context: dict[str, Any] = {"strip": strip, "unreachable": unreachable(request)}
    if not card:
        return context
    url = reverse(changes, args=[card.job.id])
    context |= {"card": card, "live": {"url": url, "version": version_of(card)}}
    context["refresh"] = REFRESH_SECONDS if card.is_open else 0
    return context


def news(request: HttpRequest, part: str, context: dict[str, Any]) -> News:
    """What has changed on a page: the strip, the row, and a part of its template.

    `context` is the page's own, of a job that exists.
    """
    card = context["card"]
    strip = render_to_string("jobs/strip_news.html", {"strip": context["strip"], "news": True})
    html = strip + row_news(request, [card]) + render_to_string(part, context, request)
    return News(html, version_of(card))
