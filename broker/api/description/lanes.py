"""Queues, flow control and signing keys in the description."""

from broker.api.description.parts import (
    NAMED,
    Json,
    accepts,
    answers,
    array,
    done,
    flag,
    in_path,
    in_query,
    named,
    one_of,
    operation,
    record,
    ref,
    text,
    whole,
)
from broker.api.flow_control import MOST_KEYS
from broker.options import BOOLEANS, LARGEST_INTEGER, LARGEST_KEY, LONGEST_PERIOD_SECONDS

QUEUE = named("The queue", "my-queue")
KEY = in_path(
    "key",
    "The flow control key: any text, percent-encoded or not.",
    "my-key",
    text(minLength=1, maxLength=LARGEST_KEY),
)
LIMIT = whole(minimum=1, maximum=LARGEST_INTEGER)
PERIOD = whole(minimum=1, maximum=LONGEST_PERIOD_SECONDS)
LIFT = one_of(BOOLEANS)
RESET = operation("Start the rate again", done("A new period begins."), parameters=[KEY])

PATHS: Json = {
    "/v2/queues": {
        "get": operation(
            "List queues", {200: answers("All queues, oldest first.", array(ref("Queue")))}
        ),
        "post": operation(
            "Create a queue or change it",
            done("The queue is as asked for."),
            [412, 413],
            body=accepts(
                {
                    "type": "object",
                    "properties": {
                        "queueName": NAMED,
                        "parallelism": LIMIT,
                        "paused": flag(),
                    },
                    "required": ["queueName"],
                }
            ),
        ),
    },
    "/v2/queues/{name}": {
        "get": operation(
            "Look a queue up",
            {200: answers("The queue.", ref("Queue"))},
            [404],
            parameters=[QUEUE],
        ),
        "delete": operation(
            "Delete a queue; its messages are still delivered",
            done("The queue is gone, if there was one."),
            parameters=[QUEUE],
        ),
    },
    "/v2/queues/{name}/pause": {
        "post": operation(
            "Let no message of a queue start",
            done("The queue is paused."),
            [404],
            parameters=[QUEUE],
        )
    },
    "/v2/queues/{name}/resume": {
        "post": operation(
            "Let a queue's messages start again",
            done("The queue is not paused."),
            [404],
            parameters=[QUEUE],
        )
    },
    "/v2/flowControl": {
        "get": operation(
            "List flow control keys",
            {200: answers(f"At most {MOST_KEYS:,} keys, by name.", array(ref("FlowControl")))},
            parameters=[in_query("search", "A part of the key.")],
        )
    },
    "/v2/flowControl/{key}": {
        "get": operation(
            "Look a key up: its limits, and how far they are used",
            {200: answers("The key.", ref("FlowControl"))},
            [404],
            parameters=[KEY],
        )
    },
    "/v2/flowControl/{key}/pause": {
        "post": operation(
            "Let no message of a key start", done("The key is paused."), parameters=[KEY]
        )
    },
    "/v2/flowControl/{key}/resume": {
        "post": operation(
            "Let a key's messages start again",
            done("The key is not paused."),
            parameters=[KEY],
        )
    },
    "/v2/flowControl/{key}/pin": {
        "post": operation(
            "Set limits that messages cannot change; one at least",
            done("The limits are pinned."),
            parameters=[
                KEY,
                in_query("parallelism", "How many may run at once.", LIMIT),
                in_query("rate", "How many may start in a period.", LIMIT),
                in_query("period", "In seconds.", PERIOD),
            ],
        )
    },
    "/v2/flowControl/{key}/unpin": {
        "post": operation(
            "Let messages set limits again",
            done("The limits are unpinned."),
            parameters=[
                KEY,
                in_query("parallelism", "Unpin it.", LIFT),
                in_query("rate", "Unpin it, and the period.", LIFT),
            ],
        )
    },
    "/v2/flowControl/{key}/resetRate": {"post": RESET},
    "/v2/flowControl/{key}/reset": {"post": RESET},
    "/v2/globalParallelism": {
        "get": operation(
            "How many attempts a dispatcher makes at once, and how many are under way",
            {
                200: answers(
                    "Two numbers.",
                    record({"parallelismMax": whole(), "parallelismCount": whole()}),
                )
            },
        )
    },
    "/v2/keys": {
        "get": operation("The signing keys", {200: answers("Both keys.", ref("Keys"))}),
    },
    "/v2/keys/rotate": {
        "post": operation(
            "Let the next key sign from now on, and make a new next one",
            {200: answers("Both keys.", ref("Keys"))},
        )
    },
}
