"""The pages of messages: the list, one message, and what has changed since a page was loaded.

The messages are wherever they are; a visitor looks at them, and may cancel one that waits.
"""

import re
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from broker.api.lookups import read
from broker.errors import Rejected
from catcher.pages import site_of
from console.access import for_operator
from console.filters import FIELDS, Filters, read_filters
from console.interface import Count, Problem, Row
from console.serving import done, not_done, page, queue_pages, show
from console.shown import ShownRow, shown_detail, shown_row
from live.views import News, live

# A page that stays open for long keeps so many rows.
MOST_ROWS = 100
KNOWN = re.compile("([0-9a-z]{1,13})-([a-z]{1,9}[0-9]{1,5})")


class Chip(NamedTuple):
    """A filter by state: its name ("" for all), its link, how many there are if that is known."""

    state: str
    label: str
    query: str
    number: Count | None
    current: bool


@require_safe
@page
async def messages(request: HttpRequest) -> HttpResponse:
    """A page of messages, newest first, as the filters say."""
    filters, pages, cursor = read_filters(request.GET), queue_pages(), request.GET.get("cursor", "")
    found = await pages.messages(filters, cursor)
    counts = await pages.counts(filters)
    context = {
        "filters": filters,
        "fields": [(n, label, filters.given.get(n, "")) for n, label in FIELDS.items()],
        "chips": chips(filters, pages.states, counts),
        "rows": [shown_row(row, site_of(request)) for row in found.rows],
        "version": version(found.rows),
        "query": filters.query(),
        "older": filters.query(cursor=found.cursor) if found.cursor else "",
        "first_page": not cursor,
        "cut": found.cut,
    }
    return await show(request, "console/messages.html", context)


def chips(filters: Filters, states: tuple[str, ...], counts: dict[str, Count] | None) -> list[Chip]:
    """The filters by state; their counts are of what the other filters leave."""
    return [
        Chip(
            state,
            state or "all",
            filters.query(state=state),
            counts[state] if counts else None,
            state == filters.state,
        )
        for state in ("", *states)
    ]


def version(rows: list[Row]) -> str:
    """What a page of messages shows: every row's key, and its mark."""
    return "_".join(f"{row.key}-{row.mark}" for row in rows if row.key)


@for_operator
@live(lambda request: ["messages"])
async def message_changes(request: HttpRequest, since: str) -> News | None:
    """The rows of the list that are new or have changed, and the counts."""
    if since and not all(map(KNOWN.fullmatch, since.split("_"))):
        return None
    try:
        filters, pages = read_filters(request.GET), queue_pages()
    except Rejected:
        return None  # the page itself has said so
    known = dict(KNOWN.findall(since))
    newest = {row.key: row for row in (await pages.messages(filters)).rows}
    left = await pages.rows([key for key in known if key not in newest])
    changed = [row for row in [*newest.values(), *left] if known.get(row.key, row.mark) != row.mark]
    new, above, origin = list[tuple[str, ShownRow]](), "", site_of(request)
    for row in newest.values():
        if row.key not in known:
            new.append((above, shown_row(row, origin)))
        above = row.key
    if not new and not changed:
        return None
    now = known | {row.key: row.mark for row in [*changed, *newest.values()]}
    order = [*newest] + [key for key in known if key not in newest]
    context = {
        "changed": [shown_row(row, origin) for row in changed],
        "new": new,
        "gone": order[MOST_ROWS:],
        "chips": chips(filters, pages.states, await pages.counts(filters)),
    }
    html = await read(lambda: render_to_string("console/messages.html#news", context, request))
    return News(html, "_".join(f"{key}-{now[key]}" for key in order[:MOST_ROWS]))


@require_safe
@page
async def message(request: HttpRequest, message_id: str) -> HttpResponse:
    """All that is known of one message."""
    return await show(request, "console/message.html", await message_context(message_id))


async def message_context(message_id: str) -> dict[str, Any]:
    detail = await queue_pages().message(message_id)
    if detail is None:
        raise Problem("There is no such message, or it is not kept any more.", 404)
    return {"message": await read(lambda: shown_detail(message_id, detail))}


@for_operator
@live(lambda request, message_id: ["messages"])
async def one_message_changes(request: HttpRequest, since: str, message_id: str) -> News | None:
    """The state, the bars and the answer of one message, once they have changed."""
    try:
        context = await message_context(message_id)
    except Problem:
        return None
    if context["message"].version == since:
        return None
    html = await read(lambda: render_to_string("console/message.html#news", context, request))
    return News(html, context["message"].version)


@require_POST
@page
async def cancel_message(request: HttpRequest, message_id: str) -> HttpResponse:
    """Cancel a message that is not over, and show it again."""
    address = reverse("console_message", kwargs={"message_id": message_id})
    if not await queue_pages().cancel(message_id):
        return not_done(address, "This message cannot be cancelled: it is over.")
    return done(address, "Message cancelled.")
