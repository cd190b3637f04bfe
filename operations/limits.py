"""Limits on what a visitor, and all who share an address, may start within a minute.

A click or an upload is about to reach its view. If there were too many, it is answered with 429
here, and no message comes of it. Each process counts for itself, in memory.
"""

import logging
import math
import time
from collections.abc import Callable
from typing import NamedTuple

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from console.networks import network_of

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


class Excess(NamedTuple):
    """One more than is allowed: who has done it how often, and when it will be allowed again."""

    who: str
    most: int
    seconds: int


class Counter:
    """Counts in a moving window of a minute. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock, self.latest = clock, clock()
        self.storage = MemoryStorage()
        self.limiter = MovingWindowRateLimiter(self.storage)

    def count(self, kind: Kind, visitor: str, address: str) -> Excess | None:
        """Count one more; the excess if it is one too many for the visitor or the address."""
        now = self.clock()
        if now < self.latest:  # the clock was put back: what was counted lies in the future
            self.storage.reset()
        self.latest = now
        most: int = getattr(settings, kind.setting)
        limits = {f"visitor {visitor}": most} if visitor else {}
        limits[f"address {network_of(address)}"] = most * settings.LIMIT_VISITORS
        for who, allowed in limits.items():
            item = RateLimitItemPerMinute(allowed)
            if most and not self.limiter.hit(item, kind.setting, who):
                free_at = self.limiter.get_window_stats(item, kind.setting, who).reset_time
                return Excess(who, allowed, max(1, math.ceil(free_at - now)))
        return None

    def is_first(self, who: str) -> bool:
        """Whether this is the first in a minute; so a flood does not fill the log."""
        return self.limiter.hit(RateLimitItemPerMinute(1), "logged", who)


counter = Counter()


def refusal(request: HttpRequest) -> HttpResponse | None:
    """Count a request that is limited; 429 if it is one too many, else None."""
    name = request.resolver_match and request.resolver_match.url_name
    kind = LIMITED.get(name or "")
    if kind is None or request.method != "POST":
        return None
    visitor = request.session.get("visitor", "")
    excess = counter.count(kind, visitor, request.META.get("REMOTE_ADDR", ""))
    if excess is None:
        return None
    if counter.is_first(excess.who):
        logger.warning("limit reached", extra={"limit": kind.setting, "who": excess.who})
    response = refuse(request, kind, excess)
    response._has_been_logged = True  # type: ignore[attr-defined]  # Django would log each one
    return response


def refuse(request: HttpRequest, kind: Kind, excess: Excess) -> HttpResponse:
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
