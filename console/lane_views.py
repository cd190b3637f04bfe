"""The pages of queues, flow control keys, schedules and URL groups: numbers, pause, resume.

Messages wait in a queue or under a key, are published by a schedule, or go to all of a group.
"""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from broker.errors import Rejected
from console.attempts import moment
from console.interface import Json
from console.serving import done, page, queue_pages, show
from console.shown import line, whole

DONE = {"pause": "paused", "resume": "resumed", "delete": "deleted"}
# The page to which each kind belongs, and what may be done with it.
PAGES = {
    "queue": ("console_queues", ("pause", "resume", "delete")),
    "key": ("console_queues", ("pause", "resume")),
    "schedule": ("console_schedules", ("pause", "resume", "delete")),
    "group": ("console_url_groups", ("delete",)),
}
STATES = {"SUCCESS": "succeeded", "FAIL": "failed", "IN_PROGRESS": "running"}
MOST_ENDPOINTS = 100


@require_safe
@page
async def queues(request: HttpRequest) -> HttpResponse:
    """Queues and flow control keys with how much waits and runs."""
    pages = queue_pages()
    found = await pages.queues(request.GET.get("queues", ""))
    keys = await pages.keys(request.GET.get("keys", ""))
    context = {
        "queues": [named(item, "name") for item in found.rows],
        "keys": [named(item, "flowControlKey") for item in keys.rows],
        "more_queues": found.cursor,
        "more_keys": keys.cursor,
    }
    return await show(request, "console/queues.html", context)


def named(item: Json, name: str) -> Json:
    """A queue or a key, with its name once as it is and once to be shown."""
    raw = str(item.get(name, ""))
    return item | {"raw": raw, "shown": line(raw)}


@require_safe
@page
async def schedules(request: HttpRequest) -> HttpResponse:
    """Schedules with their next and last runs."""
    found = await queue_pages().schedules(request.GET.get("after", ""))
    context = {"schedules": [shown_schedule(item) for item in found.rows], "more": found.cursor}
    return await show(request, "console/schedules.html", context)


def shown_schedule(item: Json) -> Json:
    """A schedule, ready for the template."""
    last = item.get("lastScheduleStates")
    states = list(last.items())[:5] if isinstance(last, dict) else []
    return {
        "raw": str(item.get("scheduleId", "")),
        "shown": line(item.get("scheduleId", "")),
        "cron": line(item.get("cron", "")),
        "destination": line(item.get("destination", ""), 160),
        "paused": item.get("isPaused") is True,
        "next_at": moment(whole(item.get("nextScheduleTime"))),
        "last_at": moment(whole(item.get("lastScheduleTime"))),
        "last": [(str(name), STATES.get(str(state), "queued")) for name, state in states],
        "error": line(item.get("error") or ""),
    }


@require_safe
@page
async def url_groups(request: HttpRequest) -> HttpResponse:
    """URL groups with their endpoints."""
    found = await queue_pages().url_groups(request.GET.get("after", ""))
    context = {"groups": [shown_group(item) for item in found.rows], "more": found.cursor}
    return await show(request, "console/url_groups.html", context)


def shown_group(item: Json) -> Json:
    endpoints: list[Any] = item.get("endpoints") or []
    return named(item, "name") | {
        "number": len(endpoints),
        "ends": [
            (line(end.get("name") or ""), line(end.get("url", "")))
            for end in endpoints[:MOST_ENDPOINTS]
            if isinstance(end, dict)
        ],
    }


@require_POST
@page
async def change(request: HttpRequest, what: str) -> HttpResponse:
    """Pause, resume or delete what the form names."""
    address, verbs = PAGES[what]
    verb, name = request.POST.get("do", ""), request.POST.get("name", "")
    if verb not in verbs:
        raise Rejected(f"a {what} knows {', '.join(verbs)}")
    await queue_pages().change(what, verb, name)
    return done(reverse(address), DONE[verb])
