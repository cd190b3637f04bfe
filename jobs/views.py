"""What a person asks for: the button, a job, how it is doing.

A click becomes a job and its message here; `backends.py` takes the message away. What the
pages show afterwards is read from the job, which `receiving.py` keeps up to date.
"""

import logging
import secrets
from collections.abc import Awaitable
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import aget_object_or_404, redirect, render
from django.tasks import task_backends
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST, require_safe
from django_htmx.middleware import HtmxDetails

from jobs.changes import (
    RECENT,
    cards_for,
    cards_of,
    detail,
    is_same,
    list_news,
    row_news,
    stuck,
    version_of,
)
from jobs.exceptions import PublishError
from jobs.interface import JobResult, task_of
from jobs.models import Job
from jobs.pages import Card, as_json
from jobs.signatures import site_url
from jobs.tasks import long_task
from live.views import News, live

logger = logging.getLogger(__name__)


class HtmxRequest(HttpRequest):
    """What django-htmx's middleware makes of a request.
    https://django-htmx.readthedocs.io/en/latest/tips.html
    """

    htmx: HtmxDetails


def visitor_of(request: HttpRequest) -> str:
    """A random name for this browser, kept in its signed session cookie."""
    visitor: str = request.session.setdefault("visitor", secrets.token_hex(16))
    return visitor


def target_for(request: HttpRequest) -> str:
    """Where a visitor's ten requests go: the configured target, or a bin of the visitor's own."""
    name = salted_hmac("jobs.bin", visitor_of(request), algorithm="sha256").hexdigest()[:32]
    # The catcher's pages use the session's `bin`, too.
    own_bin = site_url(request) + reverse("bin", args=[request.session.setdefault("bin", name)])
    return settings.LONG_TASK_TARGET_URL or own_bin


def job_id_for(request: HttpRequest, key: str) -> str:
    """The id of the job that a form with this key starts: the same however often it is sent."""
    start = f"{visitor_of(request)} {key or secrets.token_hex(16)}"
    return salted_hmac("jobs.start", start, algorithm="sha256").hexdigest()[:32]


@never_cache
@require_safe
async def home(request: HttpRequest) -> HttpResponse:
    """The button, and this visitor's jobs."""
    jobs: Any = Paginator(Job.objects.owned_by(visitor_of(request)), RECENT)
    page = await sync_to_async(jobs.get_page)(request.GET.get("page"))
    cards = await cards_of(page.object_list)
    refresh = any(card.is_open for card in cards)
    context = {"cards": cards, "page": page, "refresh": refresh, "key": secrets.token_hex(16)}
    is_stuck = await stuck(cards)
    context |= {"stuck": is_stuck, "version": version_of(cards, is_stuck)}
    return render(request, "jobs/index.html", context)


@require_POST
async def start_job(request: HtmxRequest) -> HttpResponse:
    """Enqueue the task, and show what came of it. A form that comes twice starts one job."""
    job_id = job_id_for(request, request.POST.get("key", ""))
    task = long_task.using(owner=visitor_of(request), job_id=job_id)
    return await show_published(request, task.aenqueue(target_for(request)))


@never_cache
@require_GET
async def started_job(request: HtmxRequest) -> HttpResponse:
    """The job that a form has started whose answer was lost; 204 if it has started none."""
    job_id = job_id_for(request, request.GET.get("key", ""))
    if job := await Job.objects.filter(id=job_id).afirst():
        return render(request, "jobs/index.html#started", started(job) | {"found": True})
    return HttpResponse(status=204)


@require_POST
async def publish_again(request: HtmxRequest, job_id: str) -> HttpResponse:
    """Publish the message of a job that was not sent, or a new one for a job that has ended."""
    own = Job.objects.owned_by(visitor_of(request)).filter(status__in=Job.PUBLISHABLE)
    if not (job := await own.filter(id=job_id).afirst()):
        return await show_changed(request, job_id)
    publishing = task_backends[job.backend].apublish(job, task_of(job))
    return await show_published(request, publishing, job)


async def show_published(
    request: HtmxRequest, publishing: Awaitable[JobResult], again: Job | None = None
) -> HttpResponse:
    """Wait for the queue: partials for htmx, a redirect for everybody else."""
    failure = ""
    try:
        job: Job | None = (await publishing).job
    except PublishError as error:
        job, failure = error.job or again, str(error)
    if again:
        return await show_changed(request, again.id, failure)
    if request.htmx:
        return render(request, "jobs/index.html#started", started(job, failure))
    if not job:
        return render(request, "jobs/index.html", started(job, failure), status=503)
    return redirect_after_post("job_detail", job.id)


def started(job: Job | None, failure: str = "") -> dict[str, Any]:
    """What the page shows of a form that was sent: the job, why it failed, the next form's key."""
    card = Card(job) if job else None
    failure = failure or (job.error if job and not job.messages else "")
    return {"card": card, "failure": failure, "key": secrets.token_hex(16)}


async def show_changed(request: HtmxRequest, job_id: str, failure: str = "") -> HttpResponse:
    """Show what has become of a job: in place for htmx, on its own page for everybody else."""
    path = reverse("job_detail", args=[job_id])
    if not request.htmx:
        return redirect_after_post(path)
    job = await aget_object_or_404(Job, id=job_id)
    if request.htmx.current_url_abs_path == path:
        context = await detail(job, visitor_of(request))
        context |= {"failure": failure, "news": True, "merge": "answer"}
        return render(request, "jobs/job.html#detail", context)
    cards = [Card(job, mine=job.owner == visitor_of(request))]
    return HttpResponse(row_news(request, cards, failure=failure, merge="answer"))


@require_POST
async def cancel_job(request: HtmxRequest, job_id: str) -> HttpResponse:
    """Cancel a job of the visitor's, unless it runs or has ended."""
    job = await Job.objects.owned_by(visitor_of(request)).filter(id=job_id).afirst()
    if job and not await task_backends[job.backend].acancel(job):
        logger.info("too late to cancel", extra={"job": job_id})
    return await show_changed(request, job_id)


def redirect_after_post(name: str, *args: str) -> HttpResponse:
    """303 See Other: the browser asks for the next page with GET (RFC 9110, 15.4.4)."""
    response = redirect(name, *args)
    response.status_code = 303
    return response


@never_cache
@require_safe
async def job_detail(request: HttpRequest, job_id: str) -> HttpResponse:
    """A job's page with its history, or the same facts as JSON.

    Whoever knows the URL may look: the id in it cannot be guessed.
    """
    job = await aget_object_or_404(Job, id=job_id)
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return JsonResponse(as_json(job))
    return render(request, "jobs/job.html", await detail(job, visitor_of(request)))


@live(lambda request: [f"jobs:{visitor_of(request)}"])
async def job_changes(request: HttpRequest, since: str) -> News | None:
    """The rows of this visitor's jobs, or of those of one task, that have changed."""
    cards = await cards_for(visitor_of(request), since, request.GET.get("task", ""))
    return await list_news(request, since, cards)


@live(lambda request, job_id: [f"job:{job_id}"])
async def job_detail_changes(request: HttpRequest, since: str, job_id: str) -> News | None:
    """The parts of a job's page, if anything has changed."""
    job = await aget_object_or_404(Job, id=job_id)
    context = await detail(job, visitor_of(request)) | {"news": True}
    if is_same(context["version"], since):
        return None
    return News(render_to_string("jobs/job.html#detail", context, request), context["version"])
