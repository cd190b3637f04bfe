"""The embedded queue for its pages: our own database, read and changed as `/v2/` does.

The messages are rows of broker/models, and only those of the site's own account. search.py
finds them, reading.py shows them; every change goes through the function of broker/resources/
that the API calls.
"""

from collections.abc import Callable
from itertools import batched
from typing import Any
from urllib.parse import quote

from broker.api.dead_letters import named
from broker.api.flow_control import key_in
from broker.api.lookups import read
from broker.api.url_groups import as_json as group_in_list
from broker.cancelling import cancel_now
from broker.changes import make
from broker.clock import now_ms
from broker.errors import Rejected
from broker.models import Message, UrlGroup
from broker.options import checked_name
from broker.resources import dead_letters, flow_control, queues, schedules, url_groups
from broker.resources.dead_letters import Taking
from console.filters import Filters
from console.interface import Count, Detail, Listing, Problem, QueuePages, Row
from console.reading import (
    detail_of,
    key_in_list,
    keys,
    letter_in_list,
    list_schedules,
    listed,
    queue_in_list,
    queues_with_lags,
    row_of,
)
from console.search import ACCOUNT, LetterSearch, Search
from groupcommit.writer import writer

# What one click may take, and what one transaction does.
MOST_TAKEN, TAKEN_AT_ONCE = 10_000, 100

type Change = Callable[[str, int], tuple[Any, Any]]


class EmbeddedPages(QueuePages):
    """Our own database, for the account `site`."""

    name = "the embedded queue"

    async def messages(self, filters: Filters, cursor: str = "") -> Listing:
        def look() -> Listing:
            found, next_cursor, cut = Search(filters, cursor).page()
            return Listing([row_of(message) for message in found], next_cursor, cut)

        return await read(look)

    async def rows(self, keys: list[str]) -> list[Row]:
        found = [key for text in keys if (key := int(text, 36)) < 2**63]
        mine = Message.objects.filter(account=ACCOUNT, id__in=found).defer("body")
        return await read(lambda: [row_of(message) for message in mine])

    async def counts(self, filters: Filters) -> dict[str, Count]:
        return await read(Search(filters).counts)

    async def message(self, message_id: str) -> Detail | None:
        return await read(lambda: detail_of(message_id))

    async def cancel(self, message_id: str) -> int:
        mine = Message.objects.filter(account=ACCOUNT, message_id=message_id)
        found = await read(lambda: list(mine.values_list("id", flat=True)))
        return await writer.write(cancel_now, found) if found else 0

    async def letters(self, filters: Filters, cursor: str = "") -> Listing:
        def look() -> Listing:
            found, next_cursor, cut = LetterSearch(filters, cursor).page()
            return Listing([letter_in_list(letter) for letter in found], next_cursor, cut)

        return await read(look)

    async def letters_left(self, dlq_ids: list[str]) -> set[str]:
        return await read(lambda: {letter.dlq_id for letter in named(ACCOUNT, dlq_ids)})

    async def count_letters(self, filters: Filters) -> Count:
        return await read(LetterSearch(filters).count)

    async def take_letters(self, verb: str, dlq_ids: list[str]) -> int:
        rows = named(ACCOUNT, dlq_ids).values_list("id", flat=True)
        return await take(verb, await read(lambda: sorted(rows)))

    async def take_all_letters(self, verb: str, filters: Filters) -> tuple[int, bool]:
        search = LetterSearch(filters)

        def choose() -> list[int]:
            rows = search.bounded().order_by("-id").values_list("id", flat=True)
            return list(rows[: MOST_TAKEN + 1])

        found = await read(choose)
        more = len(found) > MOST_TAKEN or search.first_compared is not None
        return await take(verb, sorted(found[:MOST_TAKEN])), more

    async def queues(self, cursor: str = "") -> Listing:
        return await read(lambda: listed(queues_with_lags(), cursor, queue_in_list))

    async def keys(self, cursor: str = "") -> Listing:
        return await read(lambda: listed(keys(), cursor, key_in_list))

    async def schedules(self, cursor: str = "") -> Listing:
        return await read(lambda: list_schedules(cursor))

    async def url_groups(self, cursor: str = "") -> Listing:
        groups = UrlGroup.objects.filter(account=ACCOUNT).prefetch_related("endpoints")
        return await read(lambda: listed(groups, cursor, group_in_list))

    async def change(self, what: str, verb: str, name: str) -> None:
        try:
            checked = key_in(quote(name, safe="")) if what == "key" else checked_name(name, what)
            await make(*CHANGES[what, verb](checked, now_ms()))
        except Rejected as refusal:
            raise Problem(str(refusal), refusal.status) from refusal


async def take(verb: str, letters: list[int]) -> int:
    """Retry or delete dead letters by primary key, oldest first; how many there were."""
    now, taken = now_ms(), 0
    for some in batched(letters, TAKEN_AT_ONCE, strict=False):
        taking = Taking(ACCOUNT, list(some), {}, now)
        if verb == "retry":
            taken += len(await writer.write(dead_letters.retry, taking))
        else:
            taken += await writer.write(dead_letters.delete, taking)
    return taken


def of_key(paused: int) -> Change:
    return lambda name, now: (
        flow_control.change,
        flow_control.LimitsChange(ACCOUNT, name, now, {"paused": paused}),
    )


def of_queue(change: Any, **values: bool) -> Change:
    return lambda name, now: (change, queues.QueueChange(ACCOUNT, name, now, **values))


def of_schedule(change: Any) -> Change:
    return lambda name, now: (change, schedules.ScheduleChange(ACCOUNT, name, now))


def of_group(change: Any) -> Change:
    return lambda name, now: (change, url_groups.GroupChange(ACCOUNT, name, now))


# The change in broker/resources/ that a button makes, and its argument.
CHANGES: dict[tuple[str, str], Change] = {
    ("queue", "pause"): of_queue(queues.change_existing, paused=True),
    ("queue", "resume"): of_queue(queues.change_existing, paused=False),
    ("queue", "delete"): of_queue(queues.delete),
    ("key", "pause"): of_key(1),
    ("key", "resume"): of_key(0),
    ("schedule", "pause"): of_schedule(schedules.pause),
    ("schedule", "resume"): of_schedule(schedules.resume),
    ("schedule", "delete"): of_schedule(schedules.delete),
    ("group", "delete"): of_group(url_groups.delete),
}
