"""The e-mail example's page, and the click: addresses are read, and a job is enqueued.

The message leaves here. `emails.py` has the task that it is for.
"""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import render
from django.utils.encoding import punycode
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from groupcommit.writer import writer
from jobs.example_job import Example
from jobs.excerpts import excerpt
from jobs.models import Job
from jobs.pages import Card
from jobs.views import redirect_after_post, visitor_of
from live.views import News, live
from recipes.emails import outcome_for, send_email
from recipes.models import take_mails
from recipes.origins import is_form, refusal
from recipes.progress import card_of, news, progress, published, shown_job, version_of
from recipes.text import shown

MOST_USERS = 50
LARGEST_BODY = 64 * 1024
LARGEST_KEPT = 1500
LONGEST_ADDRESS = 254  # https://www.rfc-editor.org/errata/eid1690
OFF = "This site has no mail server, so it sends no mail. Its operator can name one in EMAIL_URL."
FLOOD = "Visitors have had this site send as many mails today as it may. Try again tomorrow."


class Refused(NamedTuple):
    """An address that gets no mail, cut for the page, and why."""

    user: str
    reason: str


class Unusable(Exception):
    """Nothing can be made of a request: what to tell, and the status to tell it with."""

    def __init__(self, reason: str, status: int = 400, refused: Iterable[Refused] = ()) -> None:
        super().__init__(reason)
        self.status, self.refused = status, list(refused)


@csrf_exempt
@require_POST
async def start_email_job(request: HttpRequest) -> HttpResponseBase:
    """Take `{"users": ["a@example.com", …]}` as JSON, or the page's form, and enqueue one job.

    A program gets JSON like the original's, a form gets the page.
    """
    if refused := refusal(request):
        return refused
    answer = answer_form if is_form(request) else answer_json
    try:
        users, bad = read_users(form_users(request) if is_form(request) else json_users(request))
        if not await writer.write(take_mails, len(users)):
            raise Unusable(FLOOD, 429, bad)
    except Unusable as error:
        return await answer(request, None, str(error), error.refused, error.status)
    task = send_email.using(owner=visitor_of(request), steps=len(users))
    job, failure = await published(task.aenqueue(users))
    return await answer(request, job, failure, bad, 503 if failure else 200)


def form_users(request: HttpRequest) -> list[str]:
    """What was typed: addresses on lines of their own, or separated by commas or blanks."""
    return str(request.POST.get("users", "")).replace(",", " ").split()


def json_users(request: HttpRequest) -> list[str]:
    """The addresses of a JSON body, whatever its content type says: the original sends none."""
    body = request.read(LARGEST_BODY + 1)
    if len(body) > LARGEST_BODY:
        raise Unusable(f"The body has more than {LARGEST_BODY} bytes.", 413)
    try:
        users = json.loads(body)["users"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Unusable('The body must be JSON: {"users": ["a@example.com"]}.') from error
    if not isinstance(users, list) or not all(isinstance(user, str) for user in users):
        raise Unusable("users must be a list of addresses.")
    return users


def read_users(given: list[str]) -> tuple[list[str], list[Refused]]:
    """Each address once, and those that are none. Unusable if there is nobody to mail."""
    if not settings.MAIL_IS_ON:
        raise Unusable(OFF, 503)
    wanted = list(dict.fromkeys(given))
    if len(wanted) > MOST_USERS:
        raise Unusable(f"A job mails at most {MOST_USERS} users; these are {len(wanted)}.")
    bad = [Refused(shown(user), reason) for user in wanted if (reason := problem(user))]
    users = [user for user in wanted if not problem(user)]
    if not users:
        raise Unusable("There is no address to send mail to.", refused=bad)
    return users, bad


def problem(user: str) -> str:
    """Why mail cannot be sent to an address; empty if it can be tried."""
    if len(user) > LONGEST_ADDRESS:
        return f"longer than {LONGEST_ADDRESS} characters"
    try:
        validate_email(user)
        punycode(user.rpartition("@")[2])
    except (ValidationError, ValueError):
        return "not an e-mail address"
    return "" if user.isprintable() else "has characters that cannot be seen"


async def answer_json(
    request: HttpRequest, job: Job | None, failure: str, bad: list[Refused], status: int
) -> HttpResponse:
    """What the original answers, as JSON, and who is refused."""
    told: dict[str, Any] = {"error": failure} if failure else {"message": "Job started"}
    if job:
        told |= {"messageId": job.message_id or None, "jobId": job.id}
    return JsonResponse(told | {"refused": [each._asdict() for each in bad]}, status=status)


async def answer_form(
    request: HttpRequest, job: Job | None, failure: str, bad: list[Refused], status: int
) -> HttpResponse:
    """The page with what is wrong, or a redirect to the job's; the session keeps who is refused."""
    if not job:
        context = {"failure": failure, "bad": bad, "typed": request.POST.get("users", "")[:5000]}
        return page(request, None, context, status)
    request.session["refused"] = {"job": job.id, "users": few(bad)}
    response = redirect_after_post("email")
    response["Location"] += f"?job={job.id}"
    return response


def few(refused: list[Refused]) -> list[Refused]:
    """As many as fit into the session's cookie, and how many more there are."""
    kept = refused[:20]
    while len(json.dumps(kept)) > LARGEST_KEPT:
        kept.pop()
    more = len(refused) - len(kept)
    return [*kept, Refused(f"{more} more", "")] if more else kept


@never_cache
@require_safe
async def email(request: HttpRequest) -> HttpResponse:
    """The form, and how the visitor's newest job is doing, or the one that `?job=` names."""
    return page(request, await shown_job(request, send_email), {})


def page(
    request: HttpRequest, card: Card | None, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    own = {
        "off": "" if settings.MAIL_IS_ON else OFF,
        "printed": not settings.EMAIL_URL,
        "most_users": MOST_USERS,
        "code": [excerpt(each.func if each is send_email else each) for each in CODE],
    }
    context = own | result(request, card) | context
    return render(request, "recipes/email.html", context, status=status)


CODE = [start_email_job, send_email]


def result(request: HttpRequest, card: Card | None) -> dict[str, Any]:
    """What became of each user."""
    example = Example(send_email, start_email_job)
    context = progress(request, card, example, "email_changes")
    if not card:
        return context
    job = card.job
    refused = request.session.get("refused") or {}
    bad = [Refused(*each) for each in refused["users"]] if refused.get("job") == job.id else []
    users = job.args[0] if job.args else job.kwargs.get("users", [])
    told = [(shown(user), outcome_for(user, job)) for user in users]
    return context | {"bad": bad, "users": told}


@live(lambda request, job_id: [f"job:{job_id}"])
async def email_changes(request: HttpRequest, since: str, job_id: str) -> News | None:
    """What has happened to a job's mails since the page was rendered."""
    job = await Job.objects.filter(id=job_id, task=send_email.module_path).afirst()
    card = await card_of(request, job)
    if not card or version_of(card) == since:
        return None
    return news(request, "recipes/email.html#users", result(request, card))
