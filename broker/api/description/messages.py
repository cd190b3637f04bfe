"""Messages and their logs, as the description has them."""

from broker.api.description.parts import (
    Json,
    accepts,
    answers,
    array,
    in_path,
    in_query,
    operation,
    record,
    ref,
    text,
    whole,
)
from broker.api.description.shapes import STATES

FILTERS = {
    "url": "The destination.",
    "topicName": "The URL group.",
    "queueName": "The queue.",
    "scheduleId": "The schedule.",
    "flowControlKey": "The flow control key.",
    "label": "One of the labels.",
    "callerIp": "Who published it; also `callerIP`.",
    "fromDate": "Not before this moment, unix ms.",
    "toDate": "Not after this moment, unix ms.",
}
OF_URLS = {"host": "The destination's host.", "path": "The destination's path."}
MESSAGE_ID = in_path("messageId", "The message.", "msg_1")
COUNT, CURSOR = whole(minimum=1), text(pattern="^[0-9]{1,18}-[0-9]{1,18}$")
CANCELLED = record({"cancelled": whole()})
STATE = in_query("state", "One or several of these.", text(enum=[*STATES, "IN_PROGRESS"]))


def filters(names: dict[str, str]) -> list[Json]:
    """Filters: a value each, or several, separated by commas or repeated."""
    return [in_query(name, description) for name, description in names.items()]


def page(key: str) -> Json:
    """A page of a list; no cursor, no further page."""
    return record({key: array(ref("Line"))}, cursor=text())


LOG = [
    *filters({"messageId": "The message.", "messageIds": "Messages; nothing else counts then."}),
    *filters(FILTERS | OF_URLS),
    STATE,
    in_query("order", "Which first.", text(enum=["latestFirst", "earliestFirst"])),
    in_query("count", "At most so many lines: 100 unless given, up to 1000.", COUNT),
    in_query("cursor", "Where the page before has ended.", CURSOR),
]

PATHS: Json = {
    "/v2/messages": {
        "delete": operation(
            "Cancel all messages that match, or simply all",
            {200: answers("How many were cancelled.", CANCELLED)},
            [413],
            parameters=[
                *filters({"messageIds": "These; nothing else counts then."} | FILTERS | OF_URLS),
                in_query("count", "Only a limit if the settings say so.", COUNT),
            ],
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
