"""Tell a publisher what became of its message, by messages of their own.

An attempt has just been settled. The callback reports every attempt, the failure callback the
end of a message that failed; each is published like any message, in the same transaction, and
in a queue it takes over the slot of the message it reports on.
https://upstash.com/docs/qstash/features/callbacks
"""

import base64
import json
from typing import Any

from django.conf import settings

from broker.delivery import Outcome
from broker.models import DeadLetter, Message
from broker.options import read_fields


def of_attempt(message: Message, outcome: Outcome, now: int) -> list[Message]:
    """The callback of an attempt as an unsaved message, if there is to be one."""
    if not message.callback:
        return []
    content = report(message, outcome)
    return [callback(message, message.callback, message.callback_header, content, now)]


def of_failure(message: Message, outcome: Outcome, letter: DeadLetter, now: int) -> list[Message]:
    """The failure callback of a message that has just become a dead letter."""
    if not message.failure_callback:
        return []
    content = report(message, outcome) | {"dlqId": letter.dlq_id}
    options = message.failure_callback_header
    return [callback(message, message.failure_callback, options, content, now)]


def callback(
    source: Message, url: str, options: dict[str, list[str]], content: dict[str, Any], now: int
) -> Message:
    """A message about a message. It is tried as often as that one, unless it says otherwise.

    What that one hides, this one must not show: it holds the body and the headers.
    """
    retries = int(*options.get("upstash-retries", [source.max_retries]))
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
        body=json.dumps(content).encode(),
        due_at=now,
    )
    if source.queue_name:
        message.queue_name, message.slot = source.queue_name, source.slot
    return message


def report(message: Message, outcome: Outcome) -> dict[str, Any]:
    """What a callback says: the destination's answer, and the message it answered to."""
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
