"""A message, its log and its dead letter as JSON, without the redacted fields.

Somebody asks for a message in any state. Delivery does not use this module: it sends what was
published. Absent fields are left out, as both SDKs expect.
"""

import base64
import hashlib
from typing import Any

from broker.models import DeadLetter, Event, Message
from broker.options import forwarded, redacted

type Header = dict[str, list[str]]


def shown_message(message: Message) -> dict[str, Any]:
    """A message as `GET /v2/messages/{id}` answers; times in unix ms.
    https://upstash.com/docs/qstash/api-reference/messages/get-a-message
    """
    fields = common(message) | {
        "notBefore": message.not_before,
        "createdAt": message.created_at,
        **present(
            callbackHeader=callback_header(message, message.callback_header),
            failureCallbackHeader=callback_header(message, message.failure_callback_header),
            retryDelayExpression=message.retry_delay_expression,
        ),
    }
    body = bytes(message.body)
    if body and "body" in message.redacted:
        return fields | {"body": fingerprint(body)}
    return fields | content("body", body)


def shown_letter(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter: its message, and the last answer that came back for it."""
    return (
        shown_message(letter.message)
        | {"dlqId": letter.dlq_id, "responseStatus": letter.response_status}
        | present(responseHeader=letter.response_header)
        | content("responseBody", bytes(letter.response_body))
    )


def repeated_in_log(message: Message) -> dict[str, Any]:
    """What every line of a message's log repeats; bodies in base64, durations in ms.
    https://upstash.com/docs/qstash/api-reference/logs/list-logs
    """
    body = bytes(message.body)
    if body and "body" in message.redacted:
        told = fingerprint(body)
    else:
        told = base64.b64encode(body).decode()
    return common(message) | present(
        body=told,
        callbackHeaders=callback_header(message, message.callback_header),
        failureCallbackHeaders=callback_header(message, message.failure_callback_header),
        timeout=1000 * (message.timeout_seconds or 0),
        # One of its names is Python's SDK's, the other the documentation's; so below.
        retryDelayExpr=message.retry_delay_expression,
        retryDelayExpression=message.retry_delay_expression,
    )


def own_in_log(event: Event) -> dict[str, Any]:
    """What only this line of the log says."""
    return {"time": event.time, "state": event.state} | present(
        error=event.error,
        nextDeliveryTime=event.next_delivery_time,
        responseStatus=event.response_status,
        responseHeader=event.response_header,
        responseHeaders=event.response_header,
        responseBody=base64.b64encode(event.response_body).decode(),
    )


def common(message: Message) -> dict[str, Any]:
    """What a message, a dead letter and a line of the log have in common."""
    labels = message.label_list
    return {
        "messageId": message.message_id,
        "url": message.url,
        "method": message.method,
        "maxRetries": message.max_retries,
        **present(
            topicName=message.url_group,
            endpointName=message.endpoint_name,
            queueName=message.queue_name,
            scheduleId=message.schedule_id,
            callerIP=message.caller_ip,
            header=shown_header(message.header, message.redacted),
            callback=message.callback,
            failureCallback=message.failure_callback,
            label=labels[0] if labels else "",
            labels=labels,
        ),
        **flow_control(message),
    }


def flow_control(message: Message) -> dict[str, Any]:
    """The key with its limits; a period always goes with it."""
    if not message.flow_control_key:
        return {}
    limits = message.flow_control
    return {"flowControlKey": message.flow_control_key, "period": limits.get("period", 1)} | {
        name: limits[name] for name in ("parallelism", "rate") if limits.get(name)
    }


def callback_header(message: Message, options: Header) -> Header:
    """What a callback forwards to its receiver, without what it or its message redacts."""
    if not options:
        return {}
    return shown_header(forwarded(options), [*message.redacted, *redacted(options)])


def shown_header(header: Header, hidden: list[str]) -> Header:
    return {
        name: [fingerprint(value.encode()) for value in given]
        if "header" in hidden or f"header[{name}]" in hidden
        else given
        for name, given in header.items()
    }


def fingerprint(value: bytes) -> str:
    """What replaces a redacted value."""
    return f"REDACTED:{hashlib.sha256(value).hexdigest()}"


def content(name: str, body: bytes) -> dict[str, str]:
    """A body under its name if it is text, else in base64; nothing if it is empty."""
    if not body:
        return {}
    try:
        return {name: body.decode()}
    except UnicodeDecodeError:
        return {f"{name}Base64": base64.b64encode(body).decode()}


def present(**fields: Any) -> dict[str, Any]:
    """The fields that have a value: an absent one is left out, never null or empty."""
    return {name: value for name, value in fields.items() if value}
