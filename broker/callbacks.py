"""Tell a publisher what became of its message, by messages to its callback URLs.

An attempt is being settled. The callback reports every attempt, the failure callback the end
of a message that failed; each is published like any message, in the same transaction. In a
queue it takes over the slot of the message it reports on.
https://upstash.com/docs/qstash/features/callbacks
"""

import base64
import json
from typing import Any

from django.conf import settings

from broker.delivery import Outcome
from broker.models import DeadLetter, Message
from broker.options import read_fields, text


def of_attempt(message: Message, outcome: Outcome, now: int) -> list[Message]:
    """Return the callback of an attempt as an unsaved message, if the publisher wants one."""
    if not message.callback:
        return []
    content = report(message, outcome)
    return [callback(message, message.callback, message.callback_header, content, now)]


def of_failure(message: Message, outcome: Outcome, letter: DeadLetter, now: int) -> list[Message]:
    """Return the failure callback of a message that has just become a dead letter, if any."""
    if not message.failure_callback:
        return []
    content = report(message, outcome) | {"dlqId": letter.dlq_id}
    options = message.failure_callback_header
    return [callback(message, message.failure_callback, options, content, now)]


def callback(
    source: Message, url: str, options: dict[str, list[str]], content: dict[str, Any], now: int
) -> Message:
    """Make a message that reports on another one, tried as often unless its options differ.

    It contains the body and headers of the other one, so if those are redacted, so is this.
    """
    asked = text(options, "upstash-retries")
    retries = int(asked) if asked else source.max_retries
    given = options | {
        "upstash-retries": [str(min(retries, settings.BROKER_RETRIES))],
        "content-type": ["application/json"],
    }
    fields = read_fields(url, given, now)
    if source.redacted and "body" not in fields["redacted"]:
        fields["redacted"].append("body")
    message = Message(
        **fields,
        account=source.account,
        caller_ip=source.caller_ip,
        body=compact(content),
        due_at=now,
    )
    if source.queue_name:
        message.queue_name, message.slot = source.queue_name, source.slot
    return message


def compact(content: dict[str, Any]) -> bytes:
    """JSON as JavaScript writes it: some receivers write it again before they verify it."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace")


def report(message: Message, outcome: Outcome) -> dict[str, Any]:
    """Return a callback's content: the destination's response, and the message it was for."""
    content = {
        "status": outcome.status,
        "header": outcome.header,
        "body": base64.b64encode(outcome.body).decode(),
        "retried": message.retried,
        "maxRetries": message.max_retries,
        "sourceMessageId": message.message_id,
        "topicName": message.url_group,
        "endpointName": message.endpoint_name,
        "url": message.url,
        "method": message.method,
        "sourceHeader": message.header,
        "sourceBody": base64.b64encode(message.body).decode(),
        "notBefore": message.not_before,
        "createdAt": message.created_at,
        "scheduleId": message.schedule_id,
        "callerIP": message.caller_ip,
    }
    optional = ("topicName", "endpointName", "scheduleId", "callerIP")
    return {name: value for name, value in content.items() if value or name not in optional}
