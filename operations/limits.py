"""Limits on what a visitor, and all who share an address, may start within a minute.

A click or an upload is about to reach its view. If there were too many, it is answered with 429
here, and no message comes of it. Each process counts for itself, in memory.
"""

import logging
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string

if TYPE_CHECKING:
    from operations.counting import Counter, Excess

logger = logging.getLogger(__name__)


class Kind(NamedTuple):
    """Something that is limited: its setting, and what a refusal says was done too often."""

    setting: str
    done: str


JOBS = Kind("LIMIT_JOBS", "started {} jobs")
UPLOADS = Kind("LIMIT_UPLOADS", "uploaded {} images")
SCHEDULES = Kind("LIMIT_SCHEDULES", "made or changed {} schedules")
BINS = Kind("LIMIT_BINS", "made {} bins")
# What a POST to the URL of this name does. Wrong passwords are counted in console/access.py.
LIMITED = {
    "start_job": JOBS,
    "publish_again": JOBS,
    "start_with_failure": JOBS,
    "deliver_again": JOBS,
    "forge_signature": JOBS,
    "retry_dead_letter": JOBS,
    "start_delayed": JOBS,
    "start_with_callback": JOBS,
    "start_order": JOBS,
    "start_email_job": JOBS,
    "run_schedule": JOBS,
    "replay": JOBS,
    "upload_image": UPLOADS,
    "start_schedule": SCHEDULES,
    "change_schedule": SCHEDULES,
    "make_bin": BINS,
}


@cache
def counter() -> "Counter":
    """What this process has counted."""
    from operations.counting import Counter  # here: `limits` takes 0.02 s; see jobsite/asgi.py

    return Counter()


def refusal(request: HttpRequest) -> HttpResponse | None:
    """Count a request that is limited; 429 if it is one too many, else None."""
    name = request.resolver_match and request.resolver_match.url_name
    kind = LIMITED.get(name or "")
    if kind is None or request.method != "POST":
        return None
    visitor = request.session.get("visitor", "")
    excess = counter().count(kind, visitor, request.META.get("REMOTE_ADDR", ""))
    if excess is None:
        return None
    if counter().is_first(excess.who):
        logger.warning("limit reached", extra={"limit": kind.setting, "who": excess.who})
    response = refuse(request, kind, excess)
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log each one
    return response


def refuse(request: HttpRequest, kind: Kind, excess: "Excess") -> HttpResponse:
    """429 as a fragment for htmx, a page for a browser, JSON for a program."""
    who = "You have" if excess.who.startswith("visitor") else "You and others at your address have"
    unit = "second" if excess.seconds == 1 else "seconds"
    text = (
        f"{who} {kind.done.format(excess.most)} within a minute. "
        f"Try again in {excess.seconds} {unit}."
    )
    headers = {"Retry-After": str(excess.seconds), "Cache-Control": "no-store"}
    if "HX-Request" in request.headers:
        if request.headers.get("HX-Target") != "result":
            headers |= {"HX-Retarget": "#refused", "HX-Reswap": "innerHTML"}
        body = render_to_string("429.html#notice", {"text": text, "announced": True})
    elif "text/html" in request.headers.get("Accept", ""):
        body = render_to_string("429.html", {"text": text})
    else:
        return JsonResponse({"error": text}, status=429, headers=headers)
    return HttpResponse(body, status=429, headers=headers)
