"""Three things to try on a job that has ended: the same message again, a forgery, a way back.

A message that has been delivered arrives once more, really over HTTP: signed with the queue's
own key, or with a forger's. `receiving.py` thanks the first and refuses the second. A dead
letter goes back to the queue through its REST API, the same for both queues.
https://upstash.com/docs/qstash/api-reference/dlq/retry-a-dlq-message
"""

import asyncio
import base64
import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jwt
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import aget_object_or_404, render
from django.tasks import task_backends
from django.tasks.exceptions import TaskException
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from groupcommit.writer import writer
from jobs.backends import HostedQueue
from jobs.exceptions import PublishError, Refused
from jobs.excerpts import excerpt
from jobs.interface import letter_for, task_of
from jobs.models import Failure, Job, fail_jobs
from jobs.receiving import receive
from jobs.signatures import current_site_url, verify
from jobs.views import HtmxRequest, redirect_after_post, visitor_of

if TYPE_CHECKING:
    from jobs.qstash import QStash

ANSWER_SECONDS = 10
VALID_SECONDS = 300
LONGEST_ANSWER = 500
NOT_ENDED = "The job has not ended yet. Try this again when it has."
UNCHANGED = {
    "succeeded": "The job had succeeded, so nothing was done.",
    "cancelled": "The job had been cancelled, so nothing was done.",
}
# A key that the site does not have.
FORGERS_KEY = f"sig_{secrets.token_hex(16)}"


@require_POST
async def deliver_again(request: HtmxRequest, job_id: str) -> HttpResponse:
    """Deliver a job's newest message once more, signed as the queue signs it."""
    before = await own_job(request, job_id)
    trial = await send(before, settings.QSTASH_CURRENT_SIGNING_KEY, "The same message again")
    job = await ended(before, await own_job(request, job_id))
    return show_trial(request, job, trial | {"says": what_it_did(before, job)})


async def ended(before: Job, job: Job) -> Job:
    """A job after a delivery of ours; if it failed again, it has failed.

    It waits for the next attempt, but the queue does not know of this one and will make none.
    """
    if job.status != Job.Status.WAITING or job.messages != before.messages:
        return job
    failure = Failure(job.id, job.message_id, job.error)
    return await writer.write(fail_jobs, failure) or job


@require_POST
async def forge_signature(request: HtmxRequest, job_id: str) -> HttpResponse:
    """Deliver it signed with a key that is not the queue's."""
    job = await own_job(request, job_id)
    return show_trial(request, job, await send(job, FORGERS_KEY, "A forged signature"))


@require_POST
async def retry_dead_letter(request: HtmxRequest, job_id: str) -> HttpResponse:
    """Let the queue deliver the dead letter of a job's message again."""
    job = await own_job(request, job_id)
    try:
        message_id = await asyncio.to_thread(lambda: take_back(queue_of(job), job.message_id))
        title = "The dead letter is on its way again"
        trial = {"title": title, "text": f"its message is {message_id}."}
    except PublishError as error:
        trial = {"title": "The dead letter", "failure": str(error)}
    return show_trial(request, job, trial)


def what_it_did(before: Job, job: Job) -> str:
    """What a message that was accepted has done to its job."""
    if job.last_attempted_at == before.last_attempted_at:
        return UNCHANGED.get(before.status, "The job is unchanged.")
    ran = "The job had failed, so it ran again"
    if job.status == Job.Status.SUCCEEDED:
        return f"{ran}, from the first step not noted, and succeeded."
    return f"{ran}. It is {job.get_status_display()} now: {job.error}"


async def own_job(request: HttpRequest, job_id: str) -> Job:
    """A job of this visitor's, or 404."""
    jobs = Job.objects.owned_by(visitor_of(request))
    return await aget_object_or_404(jobs, id=job_id)


async def send(job: Job, key: str, title: str) -> dict[str, Any]:
    """POST a job's message to its endpoint, signed with a key: what was sent and answered."""
    import aiohttp  # here, as in jobs/tasks.py

    if not job.has_ended or not job.message_id:
        return {"title": title, "failure": NOT_ENDED}
    try:
        letter = letter_for(job, task_of(job))
    except (PublishError, TaskException) as error:
        return {"title": title, "failure": str(error)}
    claims = claims_for(letter.url, letter.body)
    headers = {
        "Content-Type": "application/json",
        "Upstash-Message-Id": job.message_id,
        "Upstash-Retried": "0",
        "Upstash-Signature": jwt.encode(claims, key, "HS256"),
    }
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.post(letter.url, data=letter.body, headers=headers) as answer,
        ):
            text = (await answer.content.read(LONGEST_ANSWER)).decode(errors="replace")
            sent = {"url": letter.url, "claims": claims, "message_id": job.message_id}
            return {"title": title, "status": answer.status, "text": text} | sent
    except (aiohttp.ClientError, OSError, TimeoutError):
        return {"title": title, "failure": f"{letter.url} did not answer."}


def claims_for(url: str, body: bytes) -> dict[str, Any]:
    """The claims that the queue would sign now for a body and a URL."""
    now = int(time.time())
    return {
        "iss": "Upstash",
        "sub": url,
        "exp": now + VALID_SECONDS,
        "nbf": now,
        "iat": now,
        "jti": f"jwt_{secrets.token_hex(16)}",
        "body": base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode(),
    }


def queue_of(job: Job) -> "QStash":
    """The REST API of the queue that carries a job: hosted QStash's, or this site's own."""
    from jobs.qstash import client_for  # here, as in jobs/hosted.py

    backend = task_backends[job.backend]
    if isinstance(backend, HostedQueue):
        return backend.client
    return client_for(current_site_url(), settings.BROKER_TOKEN)


def take_back(queue: "QStash", message_id: str) -> str:
    """Publish a message's dead letter again, and return the new message's id. PublishError."""
    try:
        answer = queue.call("GET", f"/v2/dlq?messageId={quote(message_id)}").json()
        letters = [letter["dlqId"] for letter in answer["messages"]]
        if not letters:
            raise Refused("This message has no dead letter.")
        retried = queue.call("POST", f"/v2/dlq/retry/{quote(letters[0])}").json()
        return str(retried.get("messageId", "a new message"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused("The queue's answer cannot be read.") from error


def show_trial(request: HtmxRequest, job: Job, trial: dict[str, Any]) -> HttpResponse:
    """The outcome for htmx; a redirect to its own page for everybody else."""
    if request.htmx:
        return render(request, "recipes/lab_trial.html#outcome", outcome(job, trial))
    request.session["trial"] = {"job": job.id} | trial
    return redirect_after_post("lab_trial", job.id)


@never_cache
@require_GET
async def lab_trial(request: HttpRequest, job_id: str) -> HttpResponse:
    """The page with the outcome of the newest trial on a job."""
    job = await own_job(request, job_id)
    trial = request.session.get("trial", {})
    if trial.get("job") != job.id:
        return redirect_after_post("job_detail", job.id)
    return render(request, "recipes/lab_trial.html", outcome(job, trial))


def outcome(job: Job, trial: dict[str, Any]) -> dict[str, Any]:
    """What the templates show of a trial."""
    code = [excerpt(verify), excerpt(receive)] if "status" in trial else []
    return {"job": job, "trial": trial, "code": code, "refused": trial.get("status") == 403}
