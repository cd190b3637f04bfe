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
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import aget_object_or_404, redirect, render
from django.tasks import default_task_backend, task_backends
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django_htmx.middleware import HtmxDetails

from jobs.attempts import Attempt
from jobs.exceptions import PublishError
from jobs.interface import JobResult, task_of
from jobs.models import Job
from jobs.pages import Card, as_json, is_quiet, timeline
from jobs.signatures import site_url
from jobs.tasks import long_task

logger = logging.getLogger(__name__)

RECENT = 20


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
    bin_name = request.session.setdefault("bin", name)  # the catcher's pages use it, too
    own_bin = site_url(request) + reverse("bin", args=[bin_name])
    return settings.LONG_TASK_TARGET_URL or own_bin


@never_cache
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """The button, and this visitor's recent jobs."""
    jobs = Job.objects.owned_by(visitor_of(request))[:RECENT]
    stuck = default_task_backend.is_stuck()
    context = {"cards": [Card(job) for job in jobs], "mine": True, "stuck": stuck}
    return render(request, "jobs/index.html", context)


@require_POST
async def start_job(request: HtmxRequest) -> HttpResponse:
    """Enqueue the task, and show what came of it."""
    task = long_task.using(owner=visitor_of(request))
    return await show_published(request, task.aenqueue(target_for(request)))


@require_POST
async def publish_again(request: HtmxRequest, job_id: str) -> HttpResponse:
    """Publish the message of a job that was not sent, or a new one for a job that has ended."""
    own = Job.objects.owned_by(visitor_of(request)).filter(status__in=Job.PUBLISHABLE)
    if not (job := await own.filter(id=job_id).afirst()):
        return redirect_after_post("job_detail", job_id)
    publishing = task_backends[job.backend].apublish(job, task_of(job))
    return await show_published(request, publishing, job)


async def show_published(
    request: HtmxRequest, publishing: Awaitable[JobResult], job: Job | None = None
) -> HttpResponse:
    """Wait for the queue: the partial for htmx, a redirect for everybody else."""
    failure = ""
    try:
        job = (await publishing).job
    except PublishError as error:
        job, failure = error.job or job, str(error)
    except DatabaseError:
        logger.exception("cannot save a job")
        failure = "The database did not answer. Try again in a moment."
    context = {"card": Card(job) if job else None, "mine": True, "failure": failure}
    if request.htmx:
        return render(request, "jobs/index.html#started", context)
    if not job:
        return render(request, "jobs/index.html", context, status=503)
    return redirect_after_post("job_detail", job.id)


@require_POST
async def cancel_job(request: HttpRequest, job_id: str) -> HttpResponse:
    """Cancel a job of the visitor's, unless it runs or has ended."""
    job = await Job.objects.owned_by(visitor_of(request)).filter(id=job_id).afirst()
    if job and not await task_backends[job.backend].acancel(job):
        logger.info("too late to cancel", extra={"job": job_id})
    return redirect_after_post("job_detail", job_id)


def redirect_after_post(name: str, *args: str) -> HttpResponse:
    """303 See Other: the browser asks for the next page with GET (RFC 9110, 15.4.4)."""
    response = redirect(name, *args)
    response.status_code = 303
    return response


@never_cache
@require_GET
async def job_detail(request: HttpRequest, job_id: str) -> HttpResponse:
    """A job's page with its timeline, or the same facts as JSON.

    Whoever knows the URL may look: the id in it cannot be guessed.
    """
    job = await aget_object_or_404(Job, id=job_id)
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return JsonResponse(as_json(job))
    return render(request, "jobs/job.html", await detail(request, job))


@never_cache
@require_GET
async def job_status(request: HttpRequest, job_id: str) -> HttpResponse:
    """The job's partial, which asks again until the job has ended.

    `?seen=` is what the page has announced already; something new is announced once.
    """
    job = await aget_object_or_404(Job, id=job_id)
    if "timeline" in request.GET:
        context, partial = await detail(request, job), "jobs/job.html#detail"
    else:
        card = Card(job, await attempts_at(job) if is_quiet(job) else [])
        context, partial = await context_of(request, card), "jobs/index.html#job"
    seen = request.GET.get("seen") == context["card"].version
    context["announce"] = context["card"].is_news and not seen
    return render(request, partial, context)


async def context_of(request: HttpRequest, card: Card) -> dict[str, Any]:
    """What every page that shows one job has to know."""
    mine = card.job.owner == visitor_of(request)
    stuck = not card.job.has_ended and await sync_to_async(default_task_backend.is_stuck)()
    return {"card": card, "mine": mine, "stuck": stuck}


async def attempts_at(job: Job) -> list[Attempt]:
    """The queue's attempts at a job that should have begun by now but has not."""
    try:
        attempts: list[Attempt] = await task_backends[job.backend].attempts(job)
    except PublishError:
        return []
    return attempts


async def detail(request: HttpRequest, job: Job) -> dict[str, Any]:
    """What a job's own page shows: the card and the timeline."""
    attempts: list[Attempt] = []
    unknown = ""
    try:
        attempts = await task_backends[job.backend].attempts(job)
    except PublishError as error:
        unknown = str(error)
    return await context_of(request, Card(job, attempts)) | {
        "timeline": timeline(job, attempts),
        "attempts_unknown": unknown,
        "catcher_url": "" if settings.LONG_TASK_TARGET_URL else target_of(job),
    }


def target_of(job: Job) -> str:
    """Where a job's requests can be seen."""
    return str(job.args[0]) if job.task == long_task.module_path and job.args else ""
