"""Read what the pages show of the embedded queue, a page at a time, each in a few queries.

No message is changed here. Rows become the JSON objects of `/v2/`, by the functions of
broker/api/ where a page has room for all they show, and without bodies in lists.
"""

import base64
import re
from collections.abc import Callable
from typing import Any

import jwt
from django.db.models import IntegerField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Concat

from broker.accounts import keys_of
from broker.api import flow_control, queues, schedules
from broker.api.shown import own_in_log, shown_letter, shown_message
from broker.clock import now_ms
from broker.models import DeadLetter, Event, FlowControl, Message, Queue, Schedule, State
from broker.resources.flow_control import Standing
from broker.resources.queues import unfinished, visible
from broker.signing import sign
from console.interface import MOST_COUNTED, PAGE, SHOWN_STATES, Count, Detail, Json, Listing, Row
from console.search import ACCOUNT

# Lines of a log that a page shows, the newest.
MOST_LINES = 200
# In these states there is one more attempt than `retried` says.
UNCOUNTED = {State.ACTIVE, State.CANCEL_REQUESTED, State.DELIVERED, State.FAILED}
# How the body of a job's message begins.
JOB = re.compile(rb'\s*\{\s*"job_id"\s*:\s*"([A-Za-z0-9_-]{1,64})"')
LINE = {
    "time": "time",
    "state": "state",
    "error": "error",
    "responseStatus": "response_status",
    "nextDeliveryTime": "next_delivery_time",
}


class BoundedCount(Subquery):
    """How many rows a subquery has, which has a limit of its own."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) counted)"
    output_field = IntegerField()


def row_of(message: Message) -> Row:
    """A message as a list shows it."""
    state = SHOWN_STATES[message.state]
    if state == "queued" and message.not_before > now_ms():
        state = "scheduled"
    return Row(
        message_id=message.message_id,
        url=message.url,
        method=message.method,
        state=state,
        at=message.created_at,
        labels=message.label_list,
        queue=message.queue_name or "",
        schedule=message.schedule_id,
        group=message.url_group,
        attempts=attempts_of(message),
        key=base36(message.pk),
        mark=f"{state}{message.retried}",
    )


def attempts_of(message: Message) -> int:
    """How many attempts there were; `retried` counts those that another has followed or will."""
    return message.retried + (message.state in UNCOUNTED)


def base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"


def detail_of(message_id: str) -> Detail | None:
    """A message with its log and its dead letter, or None."""
    if not re.fullmatch(r"[\w-]{1,64}", message_id):
        return None
    message = Message.objects.filter(account=ACCOUNT, message_id=message_id).first()
    if message is None:
        return None
    events = Event.objects.filter(message=message).order_by("-id")
    found = events.values_list("id", *LINE.values())[: MOST_LINES + 1]
    log: dict[int, Json] = {row[0]: dict(zip(LINE, row[1:], strict=True)) for row in found}
    answered = events.filter(response_status__isnull=False).first()
    if answered and answered.pk in log:
        log[answered.pk] |= own_in_log(answered)
    letter = DeadLetter.objects.filter(message=message).first()
    if letter:
        letter.message = message
    return Detail(
        message=shown_message(message),
        state=message.state,
        log=list(log.values())[:MOST_LINES][::-1],
        letter=shown_letter(letter) if letter else None,
        claims=claims_of(message),
        cut=len(log) > MOST_LINES,
    )


def claims_of(message: Message) -> Json:
    """The claims of a signature for this message, without what differs at every attempt."""
    key = keys_of(ACCOUNT).current
    signature = sign(message.url, bytes(message.body), key, now_ms() // 1000)
    claims: Json = jwt.decode(signature, options={"verify_signature": False})
    return {name: claims[name] for name in ("iss", "sub", "body", "nbf")}


def letter_in_list(letter: Any) -> Json:
    """A dead letter of search.py as a list shows it: without headers, hardly any body."""
    job = JOB.match(bytes(letter.body or b""))
    message = letter.message
    return {
        "dlqId": letter.dlq_id,
        "messageId": message.message_id,
        "url": message.url,
        "method": message.method,
        "failedAt": letter.failed_at,
        "responseStatus": letter.response_status,
        "labels": message.label_list,
        "queueName": message.queue_name or "",
        "scheduleId": message.schedule_id,
        "attempts": attempts_of(message),
        "error": letter.error or "",
        "responseBodyBase64": base64.b64encode(bytes(letter.answer or b"")).decode(),
        "jobId": job[1].decode() if job else "",
    }


def listed(rows: QuerySet[Any], cursor: str, shown: Callable[[Any], Json]) -> Listing:
    """A page of a list in the order of its keys; a cursor is the last key of the page before."""
    after = int(cursor) if re.fullmatch("[0-9]{1,18}", cursor) else 0
    found = list(rows.filter(id__gt=after).order_by("id")[: PAGE + 1])
    next_cursor = str(found[PAGE - 1].pk) if len(found) > PAGE else ""
    return Listing([shown(row) for row in found[:PAGE]], next_cursor)


def bounded_count(messages: QuerySet[Message]) -> BoundedCount:
    return BoundedCount(messages.order_by().values("id")[: MOST_COUNTED + 1])


def queues_with_lags() -> QuerySet[Queue]:
    """Queues, each with how many of its messages are not finished (at most 1,001)."""
    mine = unfinished(ACCOUNT).filter(queue_name=OuterRef("name"))
    return visible(ACCOUNT).annotate(lag=bounded_count(mine))


def queue_in_list(queue: Any) -> Json:
    return queues.as_json(queue, queue.lag) | {"lag": counted(queue.lag)}


def keys() -> QuerySet[FlowControl]:
    """Flow control keys, each with how many messages wait and run under it."""
    mine = Message.objects.filter(account=ACCOUNT)
    lane = Concat(Value("flow:"), OuterRef("name"))
    return FlowControl.objects.filter(account=ACCOUNT).annotate(
        waiting=bounded_count(mine.filter(lane=lane)),
        running=bounded_count(mine.filter(runs_in=OuterRef("name"))),
    )


def key_in_list(flow: Any) -> Json:
    shown = flow_control.as_json(Standing(flow, flow.waiting, flow.running), now_ms())
    return shown | {
        "waitListSize": counted(flow.waiting),
        "parallelismCount": counted(flow.running),
    }


def counted(number: int) -> Count:
    return Count(min(number, MOST_COUNTED), number > MOST_COUNTED)


def list_schedules(cursor: str) -> Listing:
    """A page of schedules, with the states of the messages that they published last."""
    mine = Schedule.objects.filter(account=ACCOUNT).defer("body")
    page = listed(mine, cursor, lambda schedule: schedule)
    last = [name for schedule in page.rows for name in schedule.last_messages[:100]]
    states = schedules.states_of(ACCOUNT, last)
    for schedule in page.rows:
        schedule.body = b""  # a list has no room for it
    return page._replace(rows=[schedules.as_json(row, states) for row in page.rows])
