"""What a person asks for: the button, a job, how it is doing.

A click becomes a job and its message here; jobs/queues.py takes the message away. What the
pages show afterwards is read from the job, which jobs/api.py keeps up to date.
"""

import secrets
import time
from collections.abc import Sequence
from math import ceil
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, connection
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django_htmx.middleware import HtmxDetails

from jobs.addresses import site_url
from jobs.models import Job
from jobs.qstash import PublishError
from jobs.queues import RETRIES, Attempt, get_queue, queue_is_stuck

RECENT = 20
# A job that has not been heard of for this long: ask the queue what became of its message.
QUIET_SECONDS = 2.0


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
    bin_name = salted_hmac("jobs.bin", visitor_of(request), algorithm="sha256").hexdigest()[:32]
    own_bin = site_url(request) + reverse("bin", args=[bin_name])
    return settings.LONG_TASK_TARGET_URL or own_bin


@never_cache
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """The button, and this visitor's recent jobs."""
    jobs = Job.objects.of(visitor_of(request))[:RECENT]
    context = {"jobs": [facts(job) for job in jobs], "mine": True, "stuck": queue_is_stuck()}
    return render(request, "jobs/index.html", context)


@require_POST
async def start_job(request: HtmxRequest) -> HttpResponse:
    """Save a job, publish its message, and show what came of it."""
    job = Job(visitor=visitor_of(request), target_url=target_for(request))
    return await send(request, job)


@require_POST
async def send_again(request: HtmxRequest, job_id: str) -> HttpResponse:
    """Publish the message of a job that could not be sent."""
    own = Job.objects.of(visitor_of(request)).filter(id=job_id, status=Job.Status.NOT_SENT)
    job = await own.afirst()
    if job is None:
        return redirect_after_post("job_detail", job_id)
    return await send(request, job)


async def send(request: HtmxRequest, job: Job) -> HttpResponse:
    """Hand a job to the queue; the partial for htmx, a redirect for everybody else."""
    saved, failure = True, ""
    try:
        await get_queue().asend(job, site_url(request))
    except PublishError as error:
        failure, saved = str(error), not job._state.adding
    except DatabaseError:
        failure, saved = "The database did not answer. Try again in a moment.", False
    context = {"job": facts(job) if saved else None, "mine": True, "failure": failure}
    if request.htmx:
        return render(request, "jobs/index.html#started", context)
    if not saved:
        return render(request, "jobs/index.html", context | {"jobs": []}, status=503)
    return redirect_after_post("job_detail", job.id)


def redirect_after_post(name: str, *args: str) -> HttpResponse:
    """303 See Other: the browser asks for the next page with GET (RFC 9110, 15.4.4)."""
    response = redirect(name, *args)
    response.status_code = 303
    return response


async def find_job(job_id: str) -> Job:
    """A job by its unguessable id: whoever knows the URL may look."""
    if job := await Job.objects.filter(id=job_id).afirst():
        return job
    raise Http404("There is no such job.")


@never_cache
@require_GET
async def job_detail(request: HttpRequest, job_id: str) -> HttpResponse:
    """A job's page with its timeline, or the same facts as JSON."""
    job = await find_job(job_id)
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return JsonResponse(as_json(job))
    return render(request, "jobs/job.html", await detail(request, job))


@never_cache
@require_GET
async def job_status(request: HttpRequest, job_id: str) -> HttpResponse:
    """The job's partial, which asks again until the job has ended.

    `?seen=` is what the page has announced already; something new is announced once.
    """
    job = await find_job(job_id)
    if "timeline" in request.GET:
        context, partial = await detail(request, job), "jobs/job.html#detail"
    else:
        context, partial = {"job": facts(job, await attempts_at(job))}, "jobs/index.html#job"
        context["mine"] = job.visitor == visitor_of(request)
        context["stuck"] = not job.is_finished and await sync_to_async(queue_is_stuck)()
    context["announce"] = request.GET.get("seen") != context["job"]["version"]
    return render(request, partial, context)


def facts(job: Job, attempts: Sequence[Attempt] = ()) -> dict[str, Any]:
    """What the templates show of a job; `attempts` where the queue knows more than the job."""
    last = attempts[-1] if attempts else None
    unheard = last if job.status == Job.Status.QUEUED else None
    next_at = unheard.next_at if unheard else job.next_attempt_at
    seconds_left = (next_at - timezone.now()).total_seconds() if next_at else 0
    return {
        "row": job,
        "version": f"{job.status}-{last.number if last else job.attempts}",
        "status": Job.Status.WAITING if unheard and unheard.error else job.status,
        "next_attempt": (unheard.number if unheard else job.attempts) + 1,
        "most_attempts": RETRIES + 1,
        "reason": job.error or (unheard.error if unheard else ""),
        "next_in": max(0, ceil(seconds_left)),
    }


async def attempts_at(job: Job) -> list[Attempt]:
    """The queue's attempts at a job that should have begun by now but has not.

    A message that never reaches this site leaves no trace on the job; only the queue knows.
    """
    quiet = (timezone.now() - job.created_at).total_seconds() > QUIET_SECONDS
    if job.status != Job.Status.QUEUED or not quiet:
        return []
    try:
        return await get_queue().attempts(job.message_id)
    except PublishError:
        return []


async def detail(request: HttpRequest, job: Job) -> dict[str, Any]:
    """What a job's own page shows: the facts and the timeline."""
    attempts: list[Attempt] = []
    unknown = ""
    if job.message_id:
        try:
            attempts = await get_queue().attempts(job.message_id)
        except PublishError as error:
            unknown = str(error)
    return {
        "job": facts(job, attempts),
        "attempts": attempts,
        "attempts_unknown": unknown,
        "mine": job.visitor == visitor_of(request),
        "catcher_url": "" if settings.LONG_TASK_TARGET_URL else job.target_url,
        "stuck": not job.is_finished and await sync_to_async(queue_is_stuck)(),
        "timeline": True,
    }


def as_json(job: Job) -> dict[str, Any]:
    """A job for scripts; moments in ISO 8601, UTC."""
    return {
        "id": job.id,
        "message_id": job.message_id or None,
        "status": job.status,
        "sent": job.sent,
        "total": job.total,
        "attempts": job.attempts,
        "error": job.error or None,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


@never_cache
@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while the database answers and due messages are claimed; 503 and why otherwise."""
    started = time.perf_counter()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        stuck = queue_is_stuck()
    except DatabaseError as error:
        return JsonResponse({"database": f"not answering: {error}"}, status=503)
    report = {
        "database": "ok",
        "database_milliseconds": round(1000 * (time.perf_counter() - started), 1),
        "queue": get_queue().name,
        "dispatcher": "queue is not running: messages are due and nothing claims them"
        if stuck
        else "ok",
    }
    return JsonResponse(report, status=503 if stuck else 200)
