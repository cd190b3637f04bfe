"""The shapes of answers: what is absent is left out, never null.

Moments are unix milliseconds unless their name or description says otherwise.
"""

from broker.api.description.parts import Json, array, flag, one_of, record, ref, text, whole
from broker.api.schedules import OUTCOMES
from broker.models import State
from broker.options import METHODS

HEADER: Json = {
    "type": "object",
    "additionalProperties": array(text()),
    "description": "Each header with all of its values.",
}
LIMITS: Json = {
    "flowControlKey": text("What the limits below apply to."),
    "parallelism": whole("How many may run at once.", minimum=1),
    "rate": whole("How many may start in a period.", minimum=1),
    "period": whole("In seconds.", minimum=1),
}
# What messages, dead letters, schedules and lines of the log have in common.
PUBLISHED: Json = {
    "queueName": text(),
    "callerIP": text("Who published it."),
    "header": HEADER,
    "callback": text(),
    "failureCallback": text(),
    "label": text("The first label."),
    "labels": array(text()),
    "retryDelayExpression": text(),
    **LIMITS,
}
BODY: Json = {
    "body": text("If it is UTF-8 text, or what stands for a redacted one."),
    "bodyBase64": text("If it is not.", contentEncoding="base64"),
}
CALLBACK_HEADERS: Json = {"callbackHeader": HEADER, "failureCallbackHeader": HEADER}
OF_GROUPS: Json = {
    "topicName": text("The URL group it was published to."),
    "endpointName": text(),
    "scheduleId": text(),
}
METHOD = one_of(METHODS)
MESSAGE: Json = {
    "messageId": text(),
    "url": text(),
    "method": METHOD,
    "maxRetries": whole(),
    "notBefore": whole("The earliest delivery."),
    "createdAt": whole(),
}

message = record(MESSAGE, **OF_GROUPS, **PUBLISHED, **BODY, **CALLBACK_HEADERS)
dead_letter = record(
    MESSAGE | {"dlqId": text(), "responseStatus": whole("0 if there was no answer.")},
    **OF_GROUPS,
    **PUBLISHED,
    **BODY,
    **CALLBACK_HEADERS,
    responseHeader=HEADER,
    responseBody=text(),
    responseBodyBase64=text(contentEncoding="base64"),
)
line = record(
    {
        "time": whole(),
        "messageId": text(),
        "state": one_of(State.values),
        "url": text(),
        "method": METHOD,
        "maxRetries": whole(),
    },
    **OF_GROUPS,
    **PUBLISHED,
    body=text("In base64, or what stands for a redacted one."),
    callbackHeaders=HEADER,
    failureCallbackHeaders=HEADER,
    timeout=whole("In milliseconds."),
    retryDelayExpr=text(),
    error=text(),
    nextDeliveryTime=whole(),
    responseStatus=whole(),
    responseHeader=HEADER,
    responseHeaders=HEADER,
    responseBody=text(contentEncoding="base64"),
)
schedule = record(
    {
        "scheduleId": text(),
        "cron": text(),
        "destination": text("A URL or the name of a URL group."),
        "method": METHOD,
        "retries": whole(),
        "createdAt": whole(),
        "isPaused": flag(),
    },
    **PUBLISHED,
    **BODY,
    **CALLBACK_HEADERS,
    callerIp=text("The same as callerIP."),
    delay=whole("In seconds."),
    timeout=whole("In seconds."),
    lastScheduleTime=whole(),
    nextScheduleTime=whole("Absent while paused."),
    lastScheduleStates={
        "type": "object",
        "additionalProperties": one_of(OUTCOMES.values()),
        "description": "What became of the last trigger's messages, by their ids.",
    },
    error=text("Why the last trigger published nothing."),
)
queue = record(
    {
        "name": text(),
        "parallelism": whole(minimum=1),
        "createdAt": whole(),
        "updatedAt": whole(),
        "lag": whole("How many of its messages are not over."),
        "paused": flag(),
    }
)
url_group = record(
    {
        "name": text(),
        "createdAt": whole(),
        "updatedAt": whole(),
        "endpoints": array(record({"url": text()}, name=text()), minItems=1),
    },
    headers=HEADER,
)
flow_control = record(
    {
        "flowControlKey": text(),
        "waitListSize": whole(),
        "parallelismMax": whole("0 for no limit."),
        "parallelismCount": whole(),
        "rateMax": whole("0 for no limit."),
        "rateCount": whole("How many have started in the present period."),
        "ratePeriod": whole("In seconds."),
        "ratePeriodStart": whole("In unix seconds."),
        "isPaused": flag(),
        "isPinnedParallelism": flag(),
        "isPinnedRate": flag(),
    }
)
receipt = record({"messageId": text()}, url=text(), deduplicated=flag("Known already."))

SCHEMAS: Json = {
    "Error": record({"error": text("What is wrong, and how it should be.", minLength=1)}),
    "Nothing": record({}),
    "Receipt": receipt,
    "Receipts": array(ref("Receipt")),
    "Message": message,
    "DeadLetter": dead_letter,
    "Line": line,
    "Schedule": schedule,
    "Queue": queue,
    "UrlGroup": url_group,
    "FlowControl": flow_control,
    "Keys": record({"current": text(), "next": text()}),
}
