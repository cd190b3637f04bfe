"""`/v2/dlq`: messages that could not be delivered; look at them, retry or delete them.

The message has failed for good and is kept as a dead letter; broker/resources/dead_letters.py
deletes it or publishes it again.
https://upstash.com/docs/qstash/api-reference/dlq/list-messages-in-the-dlq
"""

import math
from itertools import batched
from typing import Any

from django.db.models import Q, QuerySet
from django.http import JsonResponse

from broker.api.filters import (
    COLUMNS,
    DATES,
    Selectors,
    check_known,
    date_condition,
    message_condition,
    numbers,
    read_selectors,
    values,
)
from broker.api.lookups import read, show_one
from broker.api.pages import SELECTORS, Page, read_page, read_pair, read_place
from broker.api.requests import Call
from broker.api.shown import shown_letter
from broker.clock import now_ms
from broker.errors import NotFound
from broker.models import DeadLetter
from broker.options import checked_options
from broker.publishing import Receipt
from broker.resources.dead_letters import Taking, delete, read_changes, retry
from groupcommit.writer import writer

KNOWN = [name for name in COLUMNS if name not in {"host", "path"}]
KNOWN += ["label", "responseStatus", *DATES, "dlqIds", *SELECTORS]
MOST_LETTERS = 100


async def list_dead_letters(call: Call) -> JsonResponse:
    """Answer `{"messages": [{"messageId", "dlqId", "responseStatus", …}], "cursor"}`."""
    check_known(call.query, KNOWN)
    rows = choose(call.account, call.query)
    place = read_place(call.query, MOST_LETTERS, MOST_LETTERS)

    def look() -> dict[str, Any]:
        page = read_page(rows, "failed_at", place)
        letters = page.rows(DeadLetter.objects.select_related("message"))
        return page.next | {"messages": [shown_letter(letter) for letter in letters]}

    return JsonResponse(await read(look))


async def get_dead_letter(call: Call, dlq_id: str) -> JsonResponse:
    """Answer one dead letter, or 404."""
    letters = named(call.account, [dlq_id]).select_related("message")
    return await show_one(lambda: [shown_letter(letter) for letter in letters], what(dlq_id))


async def delete_dead_letter(call: Call, dlq_id: str) -> JsonResponse:
    """Delete one dead letter, or answer 404."""
    key = await find(call, dlq_id)
    if not await writer.write(delete, Taking(call.account, [key], {}, now_ms())):
        raise NotFound(f"there is no {what(dlq_id)}")
    return JsonResponse({"deleted": 1})


async def delete_dead_letters(call: Call) -> JsonResponse:
    """Delete the named letters, or up to `count` of those that match, newest first; answer how
    many, and a cursor while there are more.
    """
    page = await find_all(call, read_selectors(call))
    deleted = 0
    for some in batched(page.keys, MOST_LETTERS, strict=False):
        deleted += await writer.write(delete, Taking(call.account, list(some), {}, now_ms()))
    return JsonResponse({"deleted": deleted} | page.next)


async def retry_dead_letter(call: Call, dlq_id: str) -> JsonResponse:
    """Publish one dead letter's message again, or answer 404."""
    now = now_ms()
    changes = read_changes(options_of(call), now)
    key = await find(call, dlq_id)
    receipts = await writer.write(retry, Taking(call.account, [key], changes, now))
    if not receipts:
        raise NotFound(f"there is no {what(dlq_id)}")
    return JsonResponse(told(receipts[0]), status=201)


async def retry_dead_letters(call: Call) -> JsonResponse:
    """Publish the messages of many again, selected as for deletion; answer the new ids.

    Each page's messages are published in the order in which they failed.
    """
    now = now_ms()
    changes = read_changes(options_of(call), now)
    selectors = read_selectors(call)
    ours = {name: given for name, given in selectors.items() if not is_option(name)}
    page = await find_all(call, ours)
    responses = []
    for some in batched(page.keys, MOST_LETTERS, strict=False):
        receipts = await writer.write(retry, Taking(call.account, list(some), changes, now))
        responses += [told(receipt) for receipt in receipts]
    return JsonResponse({"responses": responses} | page.next, status=201)


def told(receipt: Receipt) -> dict[str, str]:
    return {"messageId": receipt.message_id, "url": receipt.url}


def is_option(name: str) -> bool:
    return name.lower().startswith("upstash-")


def options_of(call: Call) -> dict[str, list[str]]:
    """The publish options of a retry request; a header overrides the query."""
    given = {name.lower(): values for name, values in call.query.items()} | call.headers()
    return checked_options({name: values for name, values in given.items() if is_option(name)})


def what(dlq_id: str) -> str:
    return f"dead letter {dlq_id[:100]!r}"


async def find(call: Call, dlq_id: str) -> int:
    """The primary key of a dead letter, or NotFound."""
    key = await read(named(call.account, [dlq_id]).values_list("id", flat=True).first)
    if key is None:
        raise NotFound(f"there is no {what(dlq_id)}")
    return key


async def find_all(call: Call, selectors: Selectors) -> Page:
    """The dead letters to take: all that are named, else a page of those that match."""
    check_known(selectors, KNOWN)
    place = read_place(selectors, MOST_LETTERS, MOST_LETTERS)
    rows = choose(call.account, selectors)
    if "dlqIds" in selectors:
        return Page(await read(lambda: sorted(rows.values_list("id", flat=True))), None)
    return await read(lambda: read_page(rows, "failed_at", place, room=math.inf))


def choose(account: str, selectors: Selectors) -> QuerySet[DeadLetter]:
    """The dead letters that selectors choose; ids override all other selectors."""
    if "dlqIds" in selectors:
        return named(account, values(selectors, "dlqIds"))
    condition = message_condition(selectors, "message__")
    condition &= date_condition(selectors, "failed_at")
    if "responseStatus" in selectors:
        condition &= Q(response_status__in=numbers(selectors, "responseStatus"))
    return DeadLetter.objects.filter(condition, account=account)


def named(account: str, dlq_ids: list[str]) -> QuerySet[DeadLetter]:
    """Dead letters by their ids; a text that is not an id matches none."""
    pairs = list(filter(None, map(read_pair, dlq_ids)))
    return DeadLetter.objects.filter(
        account=account,
        id__in={key for _, key in pairs},
        failed_at__in={failed_at for failed_at, _ in pairs},
    )
