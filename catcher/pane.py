"""The newest requests of a bin, one line each, for a page that shows them beside its own.

A job's request has arrived in its bin. Such a page needs to know nothing of the catcher but a
URL: htmx asks it for the pane.
"""

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from catcher.models import Entry

NEWEST = 10


@never_cache
@require_GET
async def bin_pane(request: HttpRequest, name: str) -> HttpResponse:
    """The pane's lines; 204 if there is nothing newer than the entry `?after=<id>`."""
    entries = await sync_to_async(newest)(name)
    if entries and request.GET.get("after") == str(entries[0].pk):
        return HttpResponse(status=204)
    return HttpResponse(pane_fragment(name, entries))


def newest(name: str) -> list[Entry]:
    """The newest ten entries of a bin, newest first, with the beginnings of their bodies."""
    return list(Entry.objects.bin(name).rows().defer(None).defer("body")[:NEWEST])


def pane_fragment(name: str, entries: list[Entry]) -> str:
    """The lines of some entries of a bin."""
    return render_to_string("catcher/pane.html", {"name": name, "entries": entries})
