"""`/v2/flowControl` and `/v2/globalParallelism`: limits on messages, shown and changed.

Messages with a flow control key wait in its lane until they may start. A key may be any text,
slashes and spaces too, so it is cut out of the path as it was sent.
https://upstash.com/docs/qstash/features/flowcontrol
"""

import re
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import JsonResponse

from broker.api.lookups import read, show_all, show_one
from broker.api.requests import Call, unquoted
from broker.changes import make
from broker.clock import now_ms
from broker.errors import NotFound, Rejected
from broker.models import CLAIMED_STATES, FlowControl, Message
from broker.options import (
    BOOLEANS,
    CONTROL_CHARACTER,
    LARGEST_INTEGER,
    LARGEST_KEY,
    LONGEST_PERIOD_SECONDS,
)
from broker.resources import flow_control
from broker.resources.flow_control import LimitsChange, Standing, pinned, standings

PREFIX = "/v2/flowControl/"
MOST_KEYS = 1000


async def list_keys(call: Call) -> JsonResponse:
    """Answer the keys, by name, that contain `?search=`; at most 1,000."""
    check_query(call, "search")
    search = checked_text("search", "".join(call.query.get("search", [])))
    flows = FlowControl.objects.filter(account=call.account, name__icontains=search)
    return await show_all(lambda: shown(flows.order_by("name")[:MOST_KEYS]))


async def show_key(call: Call) -> JsonResponse:
    """Answer one key: its limits, and how far they are used."""
    key = key_in(call.path.partition(PREFIX)[2])
    flows = FlowControl.objects.filter(account=call.account, name=key)
    return await show_one(lambda: shown(flows), f"flow control key {key!r}")


async def change_key(call: Call) -> JsonResponse:
    """Change a key as the last word of the path says."""
    part, _, verb = call.path.partition(PREFIX)[2].rpartition("/")
    if verb not in VERBS:
        raise NotFound(f"a key knows {', '.join(VERBS)}, not {verb[:100]!r}")
    now = now_ms()
    change = LimitsChange(call.account, key_in(part), now, VERBS[verb](call, now))
    await make(flow_control.change, change)
    return JsonResponse({})


async def show_global_parallelism(call: Call) -> JsonResponse:
    """Answer how many attempts a dispatcher makes at once, and how many of the account's are
    under way.
    """
    # A claim ends within a lease from now, or two if clocks differ, so only the beginning of
    # the index is read.
    soon = now_ms() + 2000 * int(settings.BROKER_LEASE_SECONDS)
    carried = Message.objects.filter(
        account=call.account, state__in=CLAIMED_STATES, due_at__lte=soon
    )
    return JsonResponse(
        {
            "parallelismMax": settings.BROKER_CONCURRENCY,
            "parallelismCount": await read(carried.count),
        }
    )


def pause(call: Call, now: int) -> dict[str, int]:
    check_query(call)
    return {"paused": True}


def resume(call: Call, now: int) -> dict[str, int]:
    check_query(call)
    return {"paused": False}


def pin(call: Call, now: int) -> dict[str, int]:
    """`?parallelism=3&rate=20&period=120`: set limits that messages cannot override."""
    check_query(call, "parallelism", "rate", "period")
    values = pinned(
        limit(call, "parallelism", LARGEST_INTEGER),
        limit(call, "rate", LARGEST_INTEGER),
        limit(call, "period", LONGEST_PERIOD_SECONDS),
    )
    if not values:
        raise Rejected("pin needs parallelism, rate, period or several of them")
    return values


def unpin(call: Call, now: int) -> dict[str, int]:
    """`?parallelism=true&rate=true`: messages may set these again."""
    check_query(call, "parallelism", "rate")
    for name, values in call.query.items():
        if values[-1].lower() not in BOOLEANS:
            raise Rejected(f"{name} must be true or false, not {values[-1][:100]!r}")
    lifted = [name for name, values in call.query.items() if values[-1].lower() == "true"]
    return {f"pinned_{name}": False for name in lifted}


def reset_rate(call: Call, now: int) -> dict[str, int]:
    """Begin a new window, in which nothing has started yet."""
    check_query(call)
    return {"window_count": 0, "window_started_at": now}


VERBS = {
    "pause": pause,
    "resume": resume,
    "pin": pin,
    "unpin": unpin,
    "resetRate": reset_rate,
    "reset": reset_rate,
}


def check_query(call: Call, *known: str) -> None:
    """Reject parameters that this route does not read."""
    if unknown := call.query.keys() - set(known):
        hint = f"this knows {', '.join(known)}" if known else "this takes none"
        raise Rejected(f"unknown parameter {sorted(unknown)[0][:100]!r}: {hint}")


def limit(call: Call, name: str, largest: int) -> int | None:
    """A whole number of the query, None if it is not there."""
    if name not in call.query:
        return None
    given = call.query[name][-1]
    if not re.fullmatch("[0-9]{1,12}", given) or not 1 <= int(given) <= largest:
        raise Rejected(f"{name} must be a whole number from 1 to {largest}, not {given[:100]!r}")
    return int(given)


def key_in(part: str) -> str:
    """A key from a part of the path; spaces around it are dropped, as in a header."""
    key = checked_text("the flow control key", unquoted(part)).strip()
    if not 1 <= len(key) <= LARGEST_KEY:
        raise Rejected(f"the flow control key must have 1 to {LARGEST_KEY} characters")
    return key


def checked_text(name: str, text: str) -> str:
    """A text that any database can store and find."""
    if CONTROL_CHARACTER.search(text):
        raise Rejected(f"{name} holds a character that no header may hold")
    return text


def shown(flows: QuerySet[FlowControl]) -> list[dict[str, Any]]:
    """Keys as JSON."""
    found, now = standings(flows), now_ms()
    return [as_json(standing, now) for standing in found]


def as_json(standing: Standing, now: int) -> dict[str, Any]:
    """A key as JSON: 0 where there is no limit, the window's start in unix seconds."""
    flow, waiting, running = standing
    return {
        "flowControlKey": flow.name,
        "waitListSize": waiting,
        "parallelismMax": flow.parallelism or 0,
        "parallelismCount": running,
        "rateMax": flow.rate or 0,
        "rateCount": flow.started(now),
        "ratePeriod": flow.period_seconds,
        "ratePeriodStart": flow.window_started_at // 1000,
        "isPaused": flow.paused,
        "isPinnedParallelism": flow.pinned_parallelism,
        "isPinnedRate": flow.pinned_rate,
    }
