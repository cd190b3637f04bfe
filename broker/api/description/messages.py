"""Messages and their logs in the description."""

from collections.abc import Iterable

from broker.api import events, messages
from broker.api.description.parts import (
    Json,
    accepts,
    answers,
    array,
    in_path,
    in_query,
    matching,
    one_of,
    operation,
    record,
    ref,
    text,
    whole,
)
from broker.api.pages import CURSOR

MEANINGS = {
    "messageId": "The message.",
    "messageIds": "Messages; no other filter counts then.",
    "dlqIds": "Dead letters; no other filter counts then.",
    "url": "The destination.",
    "topicName": "The URL group.",
    "queueName": "The queue.",
    "scheduleId": "The schedule.",
    "flowControlKey": "The flow control key.",
    "label": "One of the labels.",
    "host": "The destination's host.",
    "path": "The destination's path.",
    "callerIp": "Who published it.",
    "callerIP": "The same.",
    "responseStatus": "The status of the last answer.",
    "state": "One or several of these.",
    "order": "Which come first.",
    "cursor": "Where the page before has ended.",
    "fromDate": "Not before this moment, unix ms.",
    "toDate": "Not after this moment, unix ms.",
}
SCHEMAS = {
    "state": one_of(events.STATES),
    "order": one_of(events.ORDERS),
    "count": whole(minimum=1),
    "cursor": matching(CURSOR.pattern),
}
MESSAGE_ID = in_path("messageId", "The message.", "msg_1")
CANCELLED = record({"cancelled": whole()})


def selectors(known: Iterable[str], count: str) -> list[Json]:
    """The filters a route knows: one value each, or several, separated by commas or repeated."""
    told = MEANINGS | {"count": count}
    return [in_query(name, told[name], SCHEMAS.get(name)) for name in known]


def page(key: str) -> Json:
    """A page of a list; no cursor, no further page."""
    return record({key: array(ref("Line"))}, cursor=text())


LOG = selectors(
    events.KNOWN,
    f"At most this many lines: {events.LINES} unless given, up to {events.MOST_LINES}.",
)

PATHS: Json = {
    "/v2/messages": {
        "delete": operation(
            "Cancel all messages that match, or simply all",
            {200: answers("How many were cancelled.", CANCELLED)},
            [413],
            parameters=selectors(messages.KNOWN, "Only a limit if the settings say so."),
            body=accepts({"type": "object", "description": "The same."}, required=False),
        )
    },
    "/v2/messages/{messageId}": {
        "get": operation(
            "Look a message up",
            {200: answers("The message.", ref("Message"))},
            [404],
            parameters=[MESSAGE_ID],
        ),
        "delete": operation(
            "Cancel a message",
            {202: answers("It will not be delivered, or not again.", CANCELLED)},
            [404],
            parameters=[MESSAGE_ID],
        ),
    },
    "/v2/events": {
        "get": operation(
            "Read the log of messages, newest line first",
            {200: answers("A page of the log.", page("events"))},
            parameters=LOG,
        )
    },
    "/v2/logs": {
        "get": operation(
            "The same under another name",
            {
                200: answers(
                    "A page of the log, under both names.",
                    record(
                        {"logs": array(ref("Line")), "events": array(ref("Line"))}, cursor=text()
                    ),
                )
            },
            parameters=LOG,
        )
    },
}
