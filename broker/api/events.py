"""`/v2/events` and `/v2/logs`: what has happened to messages, newest line first.

The message may be in any state; the log shows all it has been in. Every line repeats what was
published.
https://upstash.com/docs/qstash/api-reference/logs/list-logs
"""

from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.http import JsonResponse

from broker.api.filters import (
    COLUMNS,
    DATES,
    Selectors,
    check_known,
    date_condition,
    message_condition,
    only,
    values,
)
from broker.api.lookups import read
from broker.api.pages import SELECTORS, Place, read_page, read_place
from broker.api.requests import Call
from broker.api.shown import own_in_log, repeated_in_log
from broker.errors import Rejected
from broker.models import Event, Message, State

KNOWN = ["messageIds", *COLUMNS, "label", "state", *DATES, "order", *SELECTORS]
LINES, MOST_LINES = 100, 1000
ORDERS = ("latestFirst", "earliestFirst")
# What may be asked for besides the states there are.
STATES = {state.value: [state] for state in State} | {
    "CANCELLED": [State.CANCELED],
    "IN_PROGRESS": [State.ACTIVE, State.RETRY, State.ERROR],
}


class LogQuery(NamedTuple):
    """Which lines are asked for: of named messages or by conditions, and from where on."""

    account: str
    message_ids: list[str] | None
    condition: Q
    place: Place


async def list_events(call: Call) -> JsonResponse:
    """Answer `{"events": [{"time", "messageId", "state", "url", …}], "cursor"}`."""
    asked = read_log_query(call.account, call.query)
    return JsonResponse(await read(lambda: tell(asked)))


async def list_logs(call: Call) -> JsonResponse:
    """Answer the same under `logs` as well, the name in the documentation."""
    asked = read_log_query(call.account, call.query)
    told = await read(lambda: tell(asked))
    return JsonResponse({"logs": told["events"]} | told)


def read_log_query(account: str, query: Selectors) -> LogQuery:
    """Read a query; `messageIds` overrides the other filters."""
    check_known(query, KNOWN)
    place = read_place(query, LINES, MOST_LINES)
    order = only(query, "order") or ORDERS[0]
    if order not in ORDERS:
        raise Rejected(f"order must be {' or '.join(ORDERS)}, not {order[:100]!r}")
    place = place._replace(oldest_first=order == "earliestFirst")
    if "messageIds" in query:
        return LogQuery(account, values(query, "messageIds"), Q(), place)
    condition = message_condition(query, "message__") & date_condition(query, "time")
    if "state" in query:
        condition &= Q(state__in=states(query))
    named = values(query, "messageId") if "messageId" in query else None
    return LogQuery(account, named, condition, place)


def states(query: Selectors) -> list[State]:
    found: list[State] = []
    for word in values(query, "state"):
        if word not in STATES:
            raise Rejected(f"state must be one of {', '.join(STATES)}, not {word[:100]!r}")
        found += STATES[word]
    return found


def lines(asked: LogQuery) -> QuerySet[Event]:
    """The lines that are asked for, not yet ordered.

    Named messages are looked up first, so that their lines are found by an index on messages,
    however many others the account has.
    """
    account, message_ids, condition, _ = asked
    if message_ids is None:
        return Event.objects.filter(condition, account=account)
    named = Message.objects.filter(account=account, message_id__in=message_ids)
    return Event.objects.filter(condition, message__in=list(named.values_list("id", flat=True)))


def tell(asked: LogQuery) -> dict[str, Any]:
    """A page of lines as JSON; each message is read once for all its lines."""
    page = read_page(lines(asked), "time", asked.place)
    events = page.rows(Event.objects.all())
    messages = Message.objects.in_bulk({event.message_id for event in events})
    repeated = {key: repeated_in_log(message) for key, message in messages.items()}
    told = [
        repeated[event.message_id] | own_in_log(event)
        for event in events
        if event.message_id in repeated
    ]
    return page.next | {"events": told}
