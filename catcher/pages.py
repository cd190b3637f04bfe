"""Show bins: the list of a visitor's, one bin, one of its requests, and what is new.

No message passes here. A bin's page has its requests in a list and one of them beside it; live/
keeps an open page up to date. Whoever knows a bin's name may look.
"""

from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from catcher.bins import bins_of, own_bin
from catcher.bodies import ShownBody, shown
from catcher.curl import as_curl
from catcher.models import KEPT, Bin, Entry, EntryQuerySet, Version, summaries, version_of
from catcher.verdicts import claims_in
from live.views import News, live


class Detail(NamedTuple):
    """One request as the page shows it."""

    entry: Entry
    body: ShownBody
    curl: str
    claims: ShownBody


def site_of(request: HttpRequest) -> str:
    """The site's own URL, such as `https://jobs.example.com`."""
    return settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"


def detail_of(request: HttpRequest, entry: Entry) -> Detail:
    """What the page shows of a request."""
    return Detail(
        entry,
        shown(entry.body, entry.header("content-type")),
        as_curl(entry, site_of(request)),
        claims_in(entry.header("upstash-signature")),
    )


def context_of(request: HttpRequest, name: str) -> dict[str, Any]:
    """What the parts of a bin's page have in common."""
    url = f"{site_of(request)}/catcher/{name}/"
    return {"name": name, "url": url, "bin": Bin.named(name), "kept": KEPT}


@csrf_exempt
@never_cache
@require_safe
def catcher(request: HttpRequest) -> HttpResponse:
    """What the catcher is, and the visitor's bins."""
    own = own_bin(request)
    names = [own, *(name for name in bins_of(request) if name != own)]
    context = {"bins": summaries(names), "own": own, "site": site_of(request)}
    return render(request, "catcher/index.html", context)


def show_bin(request: HttpRequest, name: str) -> HttpResponse:
    """A bin's page, with the request of `?request=<id>` or the newest one beside the list."""
    context = context_of(request, name)
    asked = request.GET.get("request", "")
    version = version_of(name)
    rows = list(rows_at(version, name)[:KEPT])
    number = number_in(asked) or (rows[0].id if rows else 0)
    entry = Entry.objects.bin(name).filter(id=number).first()
    context |= {"rows": rows, "version": version, "selected": number, "asked": asked}
    context["detail"] = detail_of(request, entry) if entry else None
    return render(request, "catcher/bin.html", context)


def rows_at(version: Version, name: str) -> EntryQuerySet:
    """The rows of a bin as it was at a version; what has come since will be news."""
    return Entry.objects.bin(name).rows().filter(id__lte=version.newest)


def number_in(text: str) -> int:
    """A number from a URL; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0


@never_cache
@require_safe
def caught(request: HttpRequest, name: str, entry_id: int) -> HttpResponse:
    """One request, to be put beside the list."""
    entry = get_object_or_404(Entry.objects.bin(name), id=entry_id)
    context = context_of(request, name) | {"detail": detail_of(request, entry)}
    return render(request, "catcher/opened.html", context)


@never_cache
@require_safe
def caught_body(request: HttpRequest, name: str, entry_id: int) -> HttpResponse:
    """The stored bytes of a body, as a file that no browser opens by itself."""
    entry = get_object_or_404(Entry.objects.bin(name), id=entry_id)
    response = HttpResponse(bytes(entry.body), content_type="application/octet-stream")
    response["Content-Disposition"] = 'attachment; filename="body"'
    response["X-Content-Type-Options"] = "nosniff"
    return response


def topics(request: HttpRequest, name: str) -> list[str]:
    return [f"bin:{name}"]


@live(topics)
async def bin_changes(request: HttpRequest, since: str, name: str) -> News | None:
    """What has come to a bin since a version, or the whole list where that does not do."""
    return await sync_to_async(news_of)(request, Version.parsed(since), name)


def news_of(request: HttpRequest, seen: Version | None, name: str) -> News | None:
    """News for a page that shows the bin as `seen`.

    Only new rows are added, unless others are gone or have come late: then the count differs.
    """
    version = version_of(name)
    if seen == version:
        return None
    rows = rows_at(version, name)
    new = list(rows.filter(id__gt=seen.newest)[:KEPT]) if seen else []
    grown = seen is not None and min(KEPT, seen.total + len(new)) == version.total
    context = context_of(request, name) | {
        "rows": new if grown else list(rows[:KEPT]),
        "grown": grown,
        "version": version,
        "answer_changed": not seen or seen.revision != version.revision,
        "nothing_open": not seen or not seen.newest or not version.total,
    }
    if context["nothing_open"]:
        newest = Entry.objects.bin(name).first()
        context["detail"] = detail_of(request, newest) if newest else None
    return News(render_to_string("catcher/news.html", context, request), str(version))
