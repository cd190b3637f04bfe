"""Schedules in the description; creating one is publishing with a cron expression."""

from broker.api.description.parts import (
    NAMED,
    Json,
    answers,
    array,
    done,
    in_header,
    named,
    operation,
    record,
    ref,
    text,
)
from broker.api.description.publishing import BODY, DESTINATION, OPTIONS

SCHEDULE = named("The schedule", "my-schedule", "scheduleId")
ID_ALONE = SCHEDULE | {"name": "idOrDestination"}
OWN = [
    in_header(
        "Upstash-Cron",
        "`minute hour day month weekday`, in UTC unless `CRON_TZ=<IANA zone>` stands before it.",
        required=True,
        example="CRON_TZ=Europe/Berlin 30 9 * * mon-fri",
    ),
    in_header(
        "Upstash-Schedule-Id",
        "The schedule's id; one that has it is replaced.",
        NAMED,
    ),
    in_header(
        "Upstash-Queue-Name",
        "Publish into this queue.",
        NAMED,
    ),
]
PAUSE = operation(
    "Publish nothing until it is resumed",
    done("The schedule is paused."),
    [404],
    parameters=[SCHEDULE],
)
RESUME = operation(
    "Publish again, from the next moment on",
    done("The schedule is not paused."),
    [404],
    parameters=[SCHEDULE],
)

PATHS: Json = {
    "/v2/schedules": {
        "get": operation(
            "List schedules",
            {200: answers("All schedules, oldest first.", array(ref("Schedule")))},
        )
    },
    "/v2/schedules/{idOrDestination}": {
        "post": operation(
            "Publish a message again and again",
            {200: answers("The schedule's id.", record({"scheduleId": text()}))},
            [412, 413],
            parameters=[DESTINATION | {"name": "idOrDestination"}, *OWN, *OPTIONS],
            body=BODY,
        ),
        "get": operation(
            "Look a schedule up",
            {200: answers("The schedule.", ref("Schedule"))},
            [404],
            parameters=[ID_ALONE],
        ),
        "delete": operation(
            "Delete a schedule; what it has published is delivered all the same",
            done("The schedule is gone, if there was one."),
            parameters=[ID_ALONE],
        ),
    },
    "/v2/schedules/{scheduleId}/pause": {"patch": PAUSE, "post": PAUSE},
    "/v2/schedules/{scheduleId}/resume": {"patch": RESUME, "post": RESUME},
}
