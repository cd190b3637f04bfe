"""Catch any request, and answer it as its bin says.

The ten requests of a job arrive here by default, so that a visitor can watch them come in. A
browser at a bin's own URL gets the page of `pages.py`. What its buttons do is in `actions.py`,
under `/catcher/~/`, where no request is caught.
"""

import asyncio
import re
from itertools import chain

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django_htmx.middleware import HtmxDetails

from catcher.bodies import is_valid_json
from catcher.masking import clean, without_secrets
from catcher.models import (
    LARGEST_BODY,
    LONGEST_DELAY_SECONDS,
    LONGEST_METHOD,
    Bin,
    Entry,
    keep,
)
from catcher.pages import show_bin
from catcher.retention import flood
from catcher.verdicts import is_signed, verdict_on
from groupcommit.writer import writer

# https://www.rfc-editor.org/rfc/rfc9110.html#section-15.3.5
WITHOUT_BODY = {204, 205, 304}
# Read by hand, as Django refuses to parse a query with more than 1,000 parts.
STATUS = re.compile("(?:^|&)status=([^&]*)")


class HtmxRequest(HttpRequest):
    """A request as django-htmx's middleware leaves it."""

    htmx: HtmxDetails


@csrf_exempt
@never_cache
async def catch(request: HtmxRequest, name: str, rest: str | None = None) -> HttpResponse:
    """Keep a request and answer as the bin says, or with `?status=`.

    A browser at the bin's root sees the bin. `rest` is None without the slash after the name.
    """
    if request.method == "GET" and not rest and wants_page(request):
        if rest is None:
            return HttpResponseRedirect(reverse("bin", args=[name]))
        return await sync_to_async(show_bin)(request, name)
    asked = STATUS.search(request.META["QUERY_STRING"])
    if asked and not re.fullmatch("[2-5][0-9][0-9]", asked[1]):
        return JsonResponse({"error": "status must be a number from 200 to 599"}, status=400)
    entry = entry_from(request, name, int(asked[1]) if asked else 0)
    caught = await writer.write(keep, entry)
    await flood.keep_within(entry.size)
    await asyncio.sleep(min(caught.delay_seconds, LONGEST_DELAY_SECONDS))
    return answer(request, entry.status or caught.status, caught)


@csrf_exempt
async def no_bin(request: HttpRequest, rest: str) -> HttpResponse:
    """404 for a name that no bin can have, in JSON: this is no page that a browser asks for."""
    reason = "a bin's name has 1 to 64 letters, digits, - and _"
    return JsonResponse({"error": reason}, status=404)


def entry_from(request: HtmxRequest, name: str, status: int) -> Entry:
    """A request as a row: without secrets, its body cut; `status` is 0 for the bin's own."""
    body = request.read() if is_signed(request) else request.read(LARGEST_BODY + 1)
    fits, verdict = verdict_on(request, body)
    entry = Entry(
        bin=name,
        method=clean(request.method or "")[:LONGEST_METHOD],
        path=clean(request.get_full_path()),
        headers=without_secrets(request.headers.items()),
        body=body[:LARGEST_BODY],
        truncated=len(body) > LARGEST_BODY,
        status=status,
        signature_fits=fits,
        verdict=verdict,
    )
    entry.size = sum(map(len, [entry.path, entry.body, *chain(*entry.headers)]))
    return entry


def answer(request: HttpRequest, status: int, chosen: Bin) -> HttpResponse:
    """The bin's body, or that the request was caught. Never HTML: anybody may choose the text."""
    if status in WITHOUT_BODY or request.method == "HEAD":
        return HttpResponse(status=status)
    if not chosen.body:
        return JsonResponse({"caught": True}, status=status)
    kind = "application/json" if is_valid_json(chosen.body) else "text/plain; charset=utf-8"
    return HttpResponse(chosen.body, content_type=kind, status=status)


def wants_page(request: HtmxRequest) -> bool:
    """Whether to answer with the page: a browser accepts HTML, htmx sends its own header."""
    return bool(request.htmx) or "text/html" in request.headers.get("Accept", "")
