"""The page of dead letters: look at them, retry or delete one, those selected, or all that match.

A message has failed for good. A retry publishes it again as a new message.
"""

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from broker.errors import Rejected
from console.attempts import moment
from console.filters import FIELDS, Filters, read_filters
from console.interface import Json
from console.serving import done, page, queue_pages, show
from console.shown import line, whole

VERBS = {"retry": "retried", "delete": "deleted"}
MOST_SELECTED = 100


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
        "letters": [shown_letter(letter) for letter in found.rows],
        "count": await pages.count_letters(filters),
        "query": filters.query(),
        "older": filters.query(cursor=found.cursor) if found.cursor else "",
        "cut": found.cut,
    }
    return await show(request, "console/dead_letters.html", context)


def shown_letter(letter: Json) -> Json:
    """A dead letter, ready for the template."""
    status = whole(letter.get("responseStatus"))
    return {
        "id": str(letter.get("dlqId", "")),
        "message_id": str(letter.get("messageId", "")),
        "url": line(letter.get("url", ""), 160),
        "method": line(letter.get("method", ""), 20),
        "at": moment(whole(letter.get("failedAt"))),
        "status": f"HTTP {status}" if status else "no answer",
        "labels": [line(label, 60) for label in (letter.get("labels") or [])[:5]],
    }


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
    address = f"{reverse('console_dead_letters')}?{filters.query()}"
    if which == "all":
        if "confirmed" not in request.POST:
            return await confirm(request, verb, filters)
        number, more = await pages.take_all_letters(verb, filters)
        return done(address, VERBS[verb], number, more)
    chosen = request.POST.getlist("letter") if which == "selected" else [which]
    number = await pages.take_letters(verb, chosen[:MOST_SELECTED])
    return done(address, VERBS[verb], number)


async def confirm(request: HttpRequest, verb: str, filters: Filters) -> HttpResponse:
    """Ask once more before all are taken."""
    count = await queue_pages().count_letters(filters)
    context = {"verb": verb, "filters": filters, "count": count}
    return await show(request, "console/confirm.html", context)
