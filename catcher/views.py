"""Catch any request and show what was caught.

The ten requests of a job arrive here by default, so that one can watch them come in.
"""

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt

from catcher.models import LARGEST_BODY, Entry
from groupcommit.statements import insert_all
from groupcommit.writer import writer


@csrf_exempt
async def catch(request: HttpRequest, name: str, rest: str = "") -> HttpResponse:
    """Keep a request and answer 200, or `?status=`. A browser at the bin's root sees it."""
    wants_page = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
    if wants_page and not rest:
        return await sync_to_async(show)(request, name)
    status = request.GET.get("status", "200")
    if not (status.isascii() and status.isdigit() and 200 <= int(status) <= 599):
        return JsonResponse({"error": "status must be a number from 200 to 599"}, status=400)
    body = request.read(LARGEST_BODY + 1)
    entry = Entry(
        bin=name,
        method=request.method or "",
        path=request.get_full_path(),
        headers=list(request.headers.items()),
        body=body[:LARGEST_BODY],
        truncated=len(body) > LARGEST_BODY,
    )
    await writer.write(keep, entry)
    return JsonResponse({"caught": True}, status=int(status))


def keep(entries: list[Entry]) -> list[None]:
    """Store entries, and let the oldest of their bins go."""
    insert_all(entries)
    for name in {entry.bin for entry in entries}:
        Entry.objects.drop_oldest(name)
    return [None] * len(entries)


def show(request: HttpRequest, name: str) -> HttpResponse:
    """The bin's page; with `?after=<id>` only what has come since, for the page to add."""
    entries = Entry.objects.bin(name)
    after = request.GET.get("after", "")
    since = int(after) if after.isascii() and after.isdigit() and len(after) < 18 else 0
    if not request.htmx:
        return render(request, "catcher/bin.html", {"name": name, "entries": list(entries)})
    new = list(entries.filter(id__gt=since))
    if not new:
        return HttpResponse(status=204)
    context = {"name": name, "entries": new, "count": entries.count()}
    return render(request, "catcher/bin.html#news", context)
