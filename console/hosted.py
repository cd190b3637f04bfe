"""Hosted QStash for its pages: its REST API, asked over one HTTP session of their own.

The messages are at QStash. It lists no messages: what the page shows is its log, newest line
first, and the state that a message had then. What its API does not tell is said to be missing.
https://upstash.com/docs/qstash/api-reference
"""

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from django.conf import settings

from console.filters import Filters
from console.interface import PAGE, SHOWN_STATES, Count, Detail, Listing, Problem, QueuePages, Row
from jobs.exceptions import PublishError, Refused

if TYPE_CHECKING:
    from jobs.qstash import QStash

LINES = 200
MOST_LISTED = 500
# What one click takes at most: ten calls of QStash's 100 letters each.
CALLS = 10
# The states of QStash's log that a state of the pages stands for.
WIRE_STATES = {
    "queued": "CREATED",
    "running": "ACTIVE",
    "waiting": "RETRY",
    "succeeded": "DELIVERED",
    "failed": "FAILED",
    "cancelled": "CANCELED",
}
# What a button asks for: method and path.
CHANGES = {
    ("queue", "pause"): ("POST", "/v2/queues/{}/pause"),
    ("queue", "resume"): ("POST", "/v2/queues/{}/resume"),
    ("queue", "delete"): ("DELETE", "/v2/queues/{}"),
    ("key", "pause"): ("POST", "/v2/flowControl/{}/pause"),
    ("key", "resume"): ("POST", "/v2/flowControl/{}/resume"),
    ("schedule", "pause"): ("PATCH", "/v2/schedules/{}/pause"),
    ("schedule", "resume"): ("PATCH", "/v2/schedules/{}/resume"),
    ("schedule", "delete"): ("DELETE", "/v2/schedules/{}"),
    ("group", "delete"): ("DELETE", "/v2/topics/{}"),
}


@cache
def console_client(url: str, token: str) -> "QStash":
    """The pages' own session, so that they hold up no publishing."""
    from jobs.qstash import QStash  # here, as in jobs/hosted.py

    return QStash(url, token)


class HostedPages(QueuePages):
    """QStash's account to which the token belongs."""

    name = "hosted QStash"
    states = tuple(WIRE_STATES)
    missing = {
        "messages": "QStash’s API lists no messages. This is its log, newest line first: each "
        "message once, with the newest line of this page. It gives no counts.",
        "message": "QStash’s API does not tell the signature of a delivery or its claims.",
        "letters": "QStash’s API gives no count of dead letters.",
    }

    async def messages(self, filters: Filters, cursor: str = "") -> Listing:
        query = log_query(filters) | {"count": str(LINES)} | ({"cursor": cursor} if cursor else {})
        answer = await get(f"/v2/logs?{urlencode(query)}")
        lines = of_list(answer, "logs", "events")
        newest: dict[str, Row] = {}
        for line in lines:
            newest.setdefault(str(line.get("messageId", "")), row_of(line))
        return Listing(list(newest.values()), text(answer, "cursor"))

    async def counts(self, filters: Filters) -> None:
        return None

    async def message(self, message_id: str) -> Detail | None:
        name = quote(message_id, safe="")
        log = of_list(await get(f"/v2/logs?messageId={name}&count={LINES}"), "logs", "events")
        log = log[::-1]
        message = await get(f"/v2/messages/{name}", missing=None)
        if not log and message is None:
            return None
        state = str(log[-1].get("state", "")) if log else "CREATED"
        letter = None
        if state == "FAILED":
            found = await get(f"/v2/dlq?messageId={name}", missing={})
            letter = next(iter(of_list(found, "messages")), None)
        known = message if isinstance(message, dict) else letter or {}
        return Detail(merged(log, known), state, log, letter, cut=len(log) == LINES)

    async def cancel(self, message_id: str) -> int:
        return (
            0 if await call("DELETE", f"/v2/messages/{quote(message_id, safe='')}") is None else 1
        )

    async def letters(self, filters: Filters, cursor: str = "") -> Listing:
        query = selectors(filters) | {"count": str(PAGE)} | ({"cursor": cursor} if cursor else {})
        answer = await get(f"/v2/dlq?{urlencode(query)}")
        found = [letter | {"failedAt": failed_at(letter)} for letter in of_list(answer, "messages")]
        return Listing(found, text(answer, "cursor"))

    async def count_letters(self, filters: Filters) -> Count | None:
        return None

    async def take_letters(self, verb: str, dlq_ids: list[str]) -> int:
        if not dlq_ids:
            return 0
        return taken(verb, await take(verb, {"dlqIds": dlq_ids}))

    async def take_all_letters(self, verb: str, filters: Filters) -> tuple[int, bool]:
        total, cursor = 0, ""
        for _ in range(CALLS):
            query = selectors(filters) | {"count": 100} | ({"cursor": cursor} if cursor else {})
            answer = await take(verb, query)
            total, cursor = total + taken(verb, answer), text(answer, "cursor")
            if not cursor:
                return total, False
        return total, True

    async def queues(self, cursor: str = "") -> Listing:
        return Listing(of_list(await get("/v2/queues"))[:MOST_LISTED])

    async def keys(self, cursor: str = "") -> Listing:
        return Listing(of_list(await get("/v2/flowControl"))[:MOST_LISTED])

    async def schedules(self, cursor: str = "") -> Listing:
        return Listing(of_list(await get("/v2/schedules"))[:MOST_LISTED])

    async def url_groups(self, cursor: str = "") -> Listing:
        return Listing(of_list(await get("/v2/topics"))[:MOST_LISTED])

    async def change(self, what: str, verb: str, name: str) -> None:
        method, path = CHANGES[what, verb]
        if await call(method, path.format(quote(name, safe=""))) is None:
            raise Problem(f"there is no {what} {name[:100]!r}", 404)


def selectors(filters: Filters) -> dict[str, Any]:
    """Filters as QStash's API names them, one value each."""
    return {name: given[0] for name, given in filters.selectors.items()}


def log_query(filters: Filters) -> dict[str, Any]:
    if filters.state and filters.state not in WIRE_STATES:
        raise Problem(f"QStash’s log does not tell which messages are {filters.state}.", 400)
    state = {"state": WIRE_STATES[filters.state]} if filters.state else {}
    return selectors(filters) | state


async def get(path: str, missing: Any = ...) -> Any:
    """What QStash answers, as JSON; `missing`, if it is given, where there is no such thing."""
    answer = await call("GET", path)
    if answer is None and missing is ...:
        raise Problem("QStash has no such list.")
    return missing if answer is None else answer


async def take(verb: str, query: dict[str, Any]) -> Any:
    if verb == "retry":
        return await call("POST", "/v2/dlq/retry", json=query)
    return await call("DELETE", "/v2/dlq", json=query)


async def call(method: str, path: str, **options: Any) -> Any:
    """One call in a thread, its answer as JSON; None for 404, Problem for whatever goes wrong."""
    client = console_client(settings.QSTASH_URL, settings.QSTASH_TOKEN)
    try:
        answer = await asyncio.to_thread(client.call, method, path, **options)
        return answer.json() if answer.content.strip() else {}
    except Refused as refusal:
        if "HTTP 404" in str(refusal):
            return None
        raise Problem(str(refusal)) from refusal
    except (PublishError, ValueError) as error:
        words = str(error) if isinstance(error, PublishError) else "the answer is not JSON"
        raise Problem(f"QStash cannot be asked: {words}") from error


def of_list(answer: Any, *names: str) -> list[dict[str, Any]]:
    """The objects of a list, under the first of these names that there is."""
    found = answer
    if isinstance(answer, dict):
        found = next((answer[name] for name in names if name in answer), [])
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def text(answer: Any, name: str) -> str:
    return str(answer.get(name) or "") if isinstance(answer, dict) else ""


def taken(verb: str, answer: Any) -> int:
    """How many letters an answer says were taken."""
    return (
        len(of_list(answer, "responses"))
        if verb == "retry"
        else number(answer and answer.get("deleted"))
    )


def number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def failed_at(letter: dict[str, Any]) -> int:
    """When a letter's message failed, in unix ms: its id begins with it."""
    digits = str(letter.get("dlqId", "")).partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else 0


def row_of(line: dict[str, Any]) -> Row:
    """A line of the log as a message in a list."""
    state = SHOWN_STATES.get(str(line.get("state")), "queued")
    labels = line.get("labels") or [line[name] for name in ("label",) if line.get(name)]
    return Row(
        message_id=str(line.get("messageId", "")),
        url=str(line.get("url", "")),
        method=str(line.get("method", "") or "POST"),
        state=state,
        at=number(line.get("time")),
        labels=[str(label) for label in labels] if isinstance(labels, list) else [],
        queue=text(line, "queueName"),
        schedule=text(line, "scheduleId"),
        group=text(line, "topicName"),
        attempts=None,
    )


def merged(log: list[dict[str, Any]], message: dict[str, Any]) -> dict[str, Any]:
    """A message's fields: what its log repeats, and what the message itself says."""
    own = {"time", "state", "error", "responseStatus", "responseHeader", "responseHeaders"}
    own |= {"responseBody", "nextDeliveryTime"}
    repeated = {name: value for name, value in (log[0] if log else {}).items() if name not in own}
    if "body" in repeated:
        repeated["bodyBase64"] = repeated.pop("body")
    if "body" in message:
        repeated.pop("bodyBase64", None)
    return repeated | message
