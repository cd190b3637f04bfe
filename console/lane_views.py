"""The pages of queues, flow control keys, schedules and URL groups: numbers, pause, resume.

Messages wait in a queue or under a key, are published by a schedule, or go to all of a group.
"""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from broker.errors import Rejected
from catcher.pages import site_of
from console.attempts import moment
from console.interface import Json
from console.serving import done, page, queue_pages, show
from console.shown import line, whole, without_origin

KINDS = {"queue": "queue", "key": "flow control key", "schedule": "schedule", "group": "URL group"}
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
# What it means that one is deleted.
LOST = {
    "queue": "Its settings are lost. Its messages are still delivered.",
    "schedule": "It publishes no more messages and cannot be brought back.",
    "group": "Its endpoints are forgotten, and nothing can be published to it any more.",
}


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
    context = {
        "schedules": [shown_schedule(item, site_of(request)) for item in found.rows],
        "more": found.cursor,
    }
    return await show(request, "console/schedules.html", context)


def shown_schedule(item: Json, origin: str) -> Json:
    """A schedule, ready for the template."""
    last = item.get("lastScheduleStates")
    destination = line(item.get("destination", ""), 160)
    states = list(last.items())[:5] if isinstance(last, dict) else []
    return {
        "raw": str(item.get("scheduleId", "")),
        "shown": line(item.get("scheduleId", "")),
        "cron": line(item.get("cron", "")),
        "destination": destination,
        "to": without_origin(destination, origin),
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
    if verb == "delete" and "confirmed" not in request.POST:
        return await confirm(request, what, name)
    await queue_pages().change(what, verb, name)
    kind = KINDS[what][0].upper() + KINDS[what][1:]
    return done(reverse(address), f"{kind} {line(name, 60)} {DONE[verb]}.")


async def confirm(request: HttpRequest, what: str, name: str) -> HttpResponse:
    """Ask once more before something is deleted."""
    context = {
        "question": f"Delete {KINDS[what]} {line(name, 60)}?",
        "words": LOST[what],
        "action": reverse("console_change", args=[what]),
        "fields": [("name", name)],
        "do": "delete",
        "label": "Delete",
        "danger": True,
        "back": reverse(PAGES[what][0]),
    }
    return await show(request, "console/confirm.html", context)
