"""Publishing in the description: a destination, options as headers, a body."""

from broker.api.description.parts import (
    TO_URL_OR_GROUP,
    Json,
    accepts,
    answers,
    array,
    in_header,
    in_path,
    matching,
    named,
    one_of,
    operation,
    ref,
    text,
)
from broker.options import BOOLEANS, DEFAULT_RETRIES, METHODS
from broker.retry import DURATION

SPAN, BOOLEAN = matching(DURATION.pattern), one_of(BOOLEANS)
BODY: Json = {
    "description": "Delivered byte for byte.",
    "content": {kind: {} for kind in ("application/json", "text/plain")},
}
DESTINATION = in_path(
    "destination",
    "A URL, as it is, or the name of a URL group.",
    "https://example.com/hook",
    TO_URL_OR_GROUP,
)
OPTIONS = [
    in_header(
        "Upstash-Method",
        "The method of the delivery; POST unless given.",
        one_of(METHODS),
    ),
    in_header("Upstash-Header-Forward", "`true`: forward all headers of this request.", BOOLEAN),
    in_header("Upstash-Delay", "Deliver this much later: `1h30m`.", SPAN),
    in_header(
        "Upstash-Retries", f"Further attempts after the first; {DEFAULT_RETRIES} unless given."
    ),
    in_header(
        "Upstash-Retry-Delay",
        "Milliseconds before the next attempt, as an expression with `retried`.",
        example="1000 * (1 + retried)",
    ),
    in_header("Upstash-Timeout", "How long an attempt may take.", SPAN),
    in_header("Upstash-Callback", "A URL to be told of every attempt."),
    in_header("Upstash-Failure-Callback", "A URL to be told once the message has failed."),
    in_header("Upstash-Deduplication-Id", "Accept no other message of this id for a while."),
    in_header(
        "Upstash-Content-Based-Deduplication", "The same, by what the message says.", BOOLEAN
    ),
    in_header(
        "Upstash-Flow-Control-Key",
        "Share limits with other messages of this key.",
        example="my-key",
    ),
    in_header(
        "Upstash-Flow-Control-Value",
        "The limits, one at least of parallelism and rate.",
        example="parallelism=2, rate=10, period=1m",
    ),
    in_header("Upstash-Label", "Labels, separated by commas, to find the message by."),
    in_header(
        "Upstash-Redact-Fields",
        "What is not to be shown: `body`, `header`, `header[Name]`.",
        example="body,header[Authorization]",
    ),
    in_header("Upstash-Forward-Name", "Delivered as the header `Name`, whatever that is."),
    in_header("Upstash-Callback-Name", "An option `Upstash-Name` of the callback."),
    in_header("Upstash-Failure-Callback-Name", "An option of the failure callback."),
]
NOT_BEFORE = in_header("Upstash-Not-Before", "The earliest delivery in unix seconds.")
PUBLISHED = {
    200: answers(
        "Accepted and durable: one receipt, or for a URL group one for each endpoint.",
        {"anyOf": [ref("Receipt"), ref("Receipts")]},
    ),
    202: answers(
        "At least one was accepted before, and is not accepted again.",
        {"anyOf": [ref("Receipt"), ref("Receipts")]},
    ),
}
ITEM: Json = {
    "type": "object",
    "properties": {
        "destination": text("As in the path of publish."),
        "headers": {"type": "object", "additionalProperties": text()},
        "body": {"type": ["string", "null"]},
        "queue": {"type": ["string", "null"], "description": "Enqueue it here."},
    },
    "required": ["destination"],
}

PATHS: Json = {
    "/v2/publish/{destination}": {
        "post": operation(
            "Publish a message",
            PUBLISHED,
            [413],
            parameters=[DESTINATION, *OPTIONS, NOT_BEFORE],
            body=BODY,
        )
    },
    "/v2/enqueue/{queueName}/{destination}": {
        "post": operation(
            "Publish a message into a queue, which is made if it is missing",
            PUBLISHED,
            [412, 413],
            parameters=[
                named("The queue", "my-queue", "queueName"),
                DESTINATION,
                *OPTIONS,
                NOT_BEFORE,
            ],
            body=BODY,
        )
    },
    "/v2/batch": {
        "post": operation(
            "Publish many messages at once",
            {
                200: answers(
                    "For each in order what publishing it would answer, or its error.",
                    array({"anyOf": [ref("Receipt"), ref("Receipts"), ref("Error")]}),
                )
            },
            [412, 413],
            body=accepts(array(ITEM)),
        )
    },
}
