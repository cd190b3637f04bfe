"""Dead letters in the description."""

from broker.api.dead_letters import KNOWN, MOST_LETTERS
from broker.api.description.messages import selectors
from broker.api.description.parts import (
    Json,
    accepts,
    answers,
    array,
    in_path,
    operation,
    record,
    ref,
    text,
    whole,
)
from broker.api.description.publishing import OPTIONS

DLQ_ID = in_path("dlqId", "The dead letter.", "1725323658779-0")
CHOICE = selectors(KNOWN, f"At most this many: {MOST_LETTERS} unless given, also the limit.")
BODY = accepts({"type": "object", "description": "The same as in the query."}, required=False)

PATHS: Json = {
    "/v2/dlq": {
        "get": operation(
            "List dead letters, newest first",
            {
                200: answers(
                    "A page of them; no cursor, no further page.",
                    record({"messages": array(ref("DeadLetter"))}, cursor=text()),
                )
            },
            parameters=CHOICE,
        ),
        "delete": operation(
            "Delete dead letters",
            {
                200: answers(
                    "How many were deleted, and a cursor while there are more.",
                    record({"deleted": whole()}, cursor=text()),
                )
            },
            [413],
            parameters=CHOICE,
            body=BODY,
        ),
    },
    "/v2/dlq/{dlqId}": {
        "get": operation(
            "Look a dead letter up",
            {200: answers("The dead letter.", ref("DeadLetter"))},
            [404],
            parameters=[DLQ_ID],
        ),
        "delete": operation(
            "Delete a dead letter",
            {200: answers("It is deleted.", record({"deleted": whole()}))},
            [404],
            parameters=[DLQ_ID],
        ),
    },
    "/v2/dlq/retry": {
        "post": operation(
            "Publish the messages of dead letters again",
            {
                201: answers(
                    "The new messages, and a cursor while there are more.",
                    record({"responses": array(ref("Receipt"))}, cursor=text()),
                )
            },
            [412, 413],
            parameters=[*CHOICE, *OPTIONS],
            body=BODY,
        )
    },
    "/v2/dlq/retry/{dlqId}": {
        "post": operation(
            "Publish the message of a dead letter again",
            {201: answers("The new message.", ref("Receipt"))},
            [404, 412],
            parameters=[DLQ_ID, *OPTIONS],
        )
    },
}
