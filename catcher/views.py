"""Catch any request and show what was caught.

The ten requests of a job arrive here by default, so that a visitor can watch them come in.
"""

import re

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django_htmx.middleware import HtmxDetails

from catcher.models import LARGEST_BODY, LONGEST_METHOD, Entry
from groupcommit.statements import insert_all
from groupcommit.writer import writer

# https://www.rfc-editor.org/rfc/rfc9110.html#section-15.3.5
WITHOUT_BODY = {204, 205, 304}


class HtmxRequest(HttpRequest):
    """A request as django-htmx's middleware leaves it."""

    htmx: HtmxDetails


@csrf_exempt
async def catch(request: HtmxRequest, name: str, rest: str = "") -> HttpResponse:
    """Keep a request and answer 200, or `?status=`. A browser at the bin's root sees the bin."""
    if request.method == "GET" and not rest and wants_page(request):
        return await sync_to_async(show)(request, name)
    status = request.GET.get("status", "200")
    if not re.fullmatch("[2-5][0-9][0-9]", status):
        return JsonResponse({"error": "status must be a number from 200 to 599"}, status=400)
    body = request.read(LARGEST_BODY + 1)
    entry = Entry(
        bin=name,
        method=(request.method or "")[:LONGEST_METHOD],
        path=request.get_full_path(),
        headers=list(request.headers.items()),
        body=body[:LARGEST_BODY],
        truncated=len(body) > LARGEST_BODY,
    )
    await writer.write(keep, entry)
    if int(status) in WITHOUT_BODY:
        return HttpResponse(status=int(status))
    return JsonResponse({"caught": True}, status=int(status))


def wants_page(request: HtmxRequest) -> bool:
    """Whether to answer with the page: a browser accepts HTML, htmx sends its own header."""
    return bool(request.htmx) or "text/html" in request.headers.get("Accept", "")


def keep(entries: list[Entry]) -> list[None]:
    """Store entries, and delete the oldest of their bins."""
    insert_all(entries)
    for name in {entry.bin for entry in entries}:
        Entry.objects.drop_oldest(name)
    return [None] * len(entries)


def show(request: HtmxRequest, name: str) -> HttpResponse:
    """The bin's page; for htmx only the entries after `?after=<id>`, which it adds to the page."""
    entries = Entry.objects.bin(name)
    after = request.GET.get("after", "")
    since = int(after) if after.isascii() and after.isdigit() and len(after) < 18 else 0
    if not request.htmx:
        return render(request, "catcher/bin.html", {"entries": list(entries)})
    new = list(entries.filter(id__gt=since))
    if not new:
        return HttpResponse(status=204)
    return render(request, "catcher/bin.html#news", {"entries": new})
