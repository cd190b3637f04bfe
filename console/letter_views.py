"""The page of dead letters: look at them, retry or delete one, those selected, or all that match.

A message has failed for good. A retry publishes it again as a new message.
"""

import re
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from broker.api.lookups import read
from broker.errors import Rejected
from catcher.pages import site_of
from console.access import for_operator
from console.filters import FIELDS, Filters, read_filters
from console.interface import Json, Problem
from console.serving import done, not_done, page, queue_pages, show
from console.shown import shown_letter
from live.views import News, live

VERBS = {"retry": "retried", "delete": "deleted"}
MOST_SELECTED = 100
# A page that stays open for long keeps so many rows.
MOST_ROWS = 100
KNOWN = re.compile("[0-9]{1,15}-[0-9]{1,18}")


@require_safe
@page
async def dead_letters(request: HttpRequest) -> HttpResponse:
    """A page of dead letters, newest first, as the filters say."""
    filters, pages, cursor = read_filters(request.GET), queue_pages(), request.GET.get("cursor", "")
    filters = filters._replace(state="")
    found = await pages.letters(filters, cursor)
    context = {
        "filters": filters,
        "fields": [(n, label, filters.given.get(n, "")) for n, label in FIELDS.items()],
        "letters": [shown_letter(letter, site_of(request)) for letter in found.rows],
        "count": await pages.count_letters(filters),
        "version": "_".join(map(id_of, found.rows)),
        "query": filters.query(),
        "older": filters.query(cursor=found.cursor) if found.cursor else "",
        "first_page": not cursor,
        "cut": found.cut,
    }
    return await show(request, "console/dead_letters.html", context)


def id_of(letter: Json) -> str:
    return str(letter.get("dlqId", ""))


@for_operator
@live(lambda request: ["letters"])
async def letter_changes(request: HttpRequest, since: str) -> News | None:
    """The letters of the list that are new, those that are gone, and how many there are."""
    known = since.split("_") if since else []
    if not all(map(KNOWN.fullmatch, known)):
        return None
    try:
        filters, pages = read_filters(request.GET)._replace(state=""), queue_pages()
        found = {id_of(letter): letter for letter in (await pages.letters(filters)).rows}
    except (Rejected, Problem):
        return None  # the page itself has said so
    older = [name for name in known if name not in found]
    left = await pages.letters_left(older)
    order = [*found, *(name for name in older if name in left)]
    gone = [name for name in older if name not in left] + order[MOST_ROWS:]
    new, above = list[tuple[str, Json]](), ""
    for name, letter in found.items():
        if name not in known:
            new.append((above, shown_letter(letter, site_of(request))))
        above = name
    if not new and not gone:
        return None
    context: dict[str, Any] = {"new": new, "gone": gone, "filters": filters}
    context["count"] = await pages.count_letters(filters)
    html = await read(lambda: render_to_string("console/dead_letters.html#news", context, request))
    return News(html, "_".join(order[:MOST_ROWS]))


@require_POST
@page
async def take_dead_letters(request: HttpRequest) -> HttpResponse:
    """`retry` or `delete` one letter, those selected, or, once that is confirmed, all of the
    filter: the button says `retry:<dlq id>`, `retry:selected` or `retry:all`.
    """
    verb, _, which = request.POST.get("do", "").partition(":")
    if verb not in VERBS:
        raise Rejected("the form must say retry or delete")
    filters, pages = read_filters(request.POST)._replace(state=""), queue_pages()
    query = filters.query()
    address = reverse("console_dead_letters") + (f"?{query}" if query else "")
    if which == "all":
        if "confirmed" not in request.POST:
            return await confirm(request, verb, filters, address)
        return told(address, verb, *await pages.take_all_letters(verb, filters))
    chosen = request.POST.getlist("letter") if which == "selected" else [which]
    if not chosen:
        return not_done(address, "Select at least one message.")
    return told(address, verb, await pages.take_letters(verb, chosen[:MOST_SELECTED]))


def told(address: str, verb: str, number: int, more: bool = False) -> HttpResponse:
    """Lead back to the list, which says how many were taken."""
    if not number:
        return not_done(address, f"No dead letter was {VERBS[verb]}: there was none any more.")
    words = f"{number:,} dead letter{'' if number == 1 else 's'} {VERBS[verb]}."
    return done(address, f"{words} There are more: do it again." if more else words)


async def confirm(request: HttpRequest, verb: str, filters: Filters, back: str) -> HttpResponse:
    """Ask once more before all are taken."""
    count = await queue_pages().count_letters(filters)
    context = {
        "question": f"{verb.title()} all {'that match' if filters.any else 'dead letters'}?",
        "words": "Each message is published once more."
        if verb == "retry"
        else "They cannot be brought back.",
        "count": count,
        "facts": filters.given,
        "taking": True,
        "action": reverse("console_take"),
        "fields": list(filters.given.items()),
        "do": f"{verb}:all",
        "label": f"{verb.title()} all",
        "danger": verb == "delete",
        "back": back,
    }
    return await show(request, "console/confirm.html", context)
