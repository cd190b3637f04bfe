"""Dead letters, as the description has them."""

from broker.api.description.messages import COUNT, CURSOR, FILTERS, filters
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
from broker.api.description.publishing import OPTIONS

DLQ_ID = in_path("dlqId", "The dead letter.", "1725323658779-0")
SELECTORS = [
    *filters({"dlqIds": "These; nothing else counts then.", "messageId": "The message."}),
    *filters(FILTERS | {"responseStatus": "The status of the last answer."}),
    in_query("count", "At most so many: 100 unless given, and no more.", COUNT),
    in_query("cursor", "Where the page before has ended.", CURSOR),
]
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
            parameters=SELECTORS,
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
            parameters=SELECTORS,
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
            "Publish the messages of dead letters anew",
            {
                201: answers(
                    "The new messages, and a cursor while there are more.",
                    record({"responses": array(ref("Receipt"))}, cursor=text()),
                )
            },
            [412, 413],
            parameters=[*SELECTORS, *OPTIONS],
            body=BODY,
        )
    },
    "/v2/dlq/retry/{dlqId}": {
        "post": operation(
            "Publish the message of a dead letter anew",
            {201: answers("The new message.", ref("Receipt"))},
            [404, 412],
            parameters=[DLQ_ID, *OPTIONS],
        )
    },
}
