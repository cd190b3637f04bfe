"""A request's headers and body become a durable message.

The publisher is waiting. Once `publish` has returned and its transaction has committed, the
message outlives any crash, and the dispatcher is woken to claim it. Options are QStash's
headers: https://upstash.com/docs/qstash/api-reference/messages/publish-a-message
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from django.db import transaction

from broker import wakeup
from broker.delivery import canonical
from broker.models import (
    DEDUPLICATION_WINDOW_MS,
    DeadLetter,
    Deduplication,
    Event,
    Message,
    State,
    now_ms,
)
from broker.retry import ExpressionError, duration_seconds, evaluate

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
FORWARD = "upstash-forward-"
FAILURE_CALLBACK = "upstash-failure-callback"
# Left as it is in a destination: everything a URL may hold, and what is encoded already.
URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=~"
# Set by delivery, never by the publisher.
RESERVED = {
    "connection", "content-length", "content-type", "host", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade", "upstash-message-id", "upstash-retried",
    "upstash-signature", "user-agent",
}  # fmt: skip


class PublishError(ValueError):
    """The message cannot be accepted; the text names the header and what it should be."""


class Receipt(NamedTuple):
    """What the publisher is told."""

    message_id: str
    deduplicated: bool = False


def publish(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    account: str = "site",
    caller_ip: str = "",
) -> Receipt:
    """Store a message for a destination; PublishError if an option is wrong.

    Durable when the surrounding transaction commits, and in one of its own otherwise.
    """
    options = {name.lower(): value.strip() for name, value in headers.items()}
    now = now_ms()
    message = read_message(url, options, body, now)
    message.account, message.caller_ip = account, caller_ip
    key = options.get("upstash-deduplication-id", "")
    if ":" in key:
        raise PublishError("Upstash-Deduplication-Id cannot contain ':'")
    with transaction.atomic():
        if key and (first := first_with(account, key, now)):
            return Receipt(first.message_id, deduplicated=True)
        store(message)
        if key:
            Deduplication.objects.create(
                account=account,
                key=key,
                message=message,
                expires_at=now + DEDUPLICATION_WINDOW_MS,
            )
    return Receipt(message.message_id)


def store(message: Message) -> None:
    """Write a message and the first line of its log, and wake the dispatchers."""
    message.save(force_insert=True)
    delayed = message.not_before > message.created_at
    Event.objects.create(
        message=message,
        state=State.CREATED,
        time=message.created_at,
        next_delivery_time=message.not_before if delayed else None,
    )
    wakeup.on_commit()


def first_with(account: str, key: str, now: int) -> Message | None:
    """The message that took this deduplication id within the window."""
    Deduplication.objects.filter(account=account, key=key, expires_at__lte=now).delete()
    taken = Deduplication.objects.select_related("message").filter(account=account, key=key)
    return found.message if (found := taken.first()) else None


def read_message(url: str, options: Mapping[str, str], body: bytes, now: int) -> Message:
    """An unsaved message from a destination and its options, names in lower case."""
    not_before = now + 1000 * duration(options, "upstash-delay", 0)
    if "upstash-not-before" in options:
        not_before = max(now, 1000 * whole_number(options, "upstash-not-before", 0))
    expression = options.get("upstash-retry-delay", "")
    try:
        if expression:
            evaluate(expression, retried=0)
    except ExpressionError as error:
        raise PublishError(f"Upstash-Retry-Delay {error}") from error
    method = options.get("upstash-method", "POST").upper()
    if method not in METHODS:
        raise PublishError(f"Upstash-Method must be one of {', '.join(METHODS)}")
    failure_callback = options.get(FAILURE_CALLBACK, "")
    return Message(
        url=checked_url(url, "destination"),
        method=method,
        header=forwarded(options),
        body=body,
        created_at=now,
        not_before=not_before,
        due_at=not_before,
        timeout_seconds=duration(options, "upstash-timeout", 0) or None,
        max_retries=whole_number(options, "upstash-retries", 3),
        retry_delay_expression=expression,
        failure_callback=failure_callback and checked_url(failure_callback, "failure callback"),
        failure_callback_header={
            "Upstash-" + name.removeprefix(f"{FAILURE_CALLBACK}-"): value
            for name, value in options.items()
            if name.startswith(f"{FAILURE_CALLBACK}-")
        },
        labels=[label for label in options.get("upstash-label", "").split(",") if label],
    )


def forwarded(options: Mapping[str, str]) -> dict[str, list[str]]:
    """What the destination gets to see: `Upstash-Forward-X` as `X`, and the Content-Type."""
    header = {
        canonical(name.removeprefix(FORWARD)): [value]
        for name, value in options.items()
        if name.startswith(FORWARD) and name.removeprefix(FORWARD) not in RESERVED
    }
    if content_type := options.get("content-type"):
        header["Content-Type"] = [content_type]
    return header


def checked_url(url: str, name: str) -> str:
    """An absolute http(s) URL; what a URL cannot hold is encoded, the rest left alone."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise PublishError(f"invalid {name} url: {error}") from error
    if parts.scheme not in {"http", "https"}:
        raise PublishError(
            f"invalid {name} url: endpoint has invalid scheme, add http:// or https://"
        )
    if not usable:
        raise PublishError(f"invalid {name} url: endpoint has no host")
    return quote(url, safe=URL_CHARACTERS)


def whole_number(options: Mapping[str, str], name: str, default: int) -> int:
    text = options.get(name, "") or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= 9 + 3):
        raise PublishError(f"{canonical(name)} must be a whole number, not {text!r}")
    return int(text)


def duration(options: Mapping[str, str], name: str, default: int) -> int:
    try:
        return duration_seconds(options[name]) if options.get(name) else default
    except ValueError as error:
        raise PublishError(f"{canonical(name)}: {error}") from error


def publish_failure_callback(message: Message, letter: DeadLetter) -> None:
    """Tell the publisher's failure callback, by a message of its own, what became of one."""
    if not message.failure_callback:
        return
    headers = {
        "Upstash-Retries": str(message.max_retries),
        "Upstash-Retry-Delay": message.retry_delay_expression,
        **message.failure_callback_header,
        "Content-Type": "application/json",
    }
    body = json.dumps(failure_report(message, letter)).encode()
    publish(message.failure_callback, headers, body, message.account, message.caller_ip)


def failure_report(message: Message, letter: DeadLetter) -> dict[str, Any]:
    """The body of a failure callback.
    https://upstash.com/docs/qstash/features/callbacks
    """
    return {
        "status": letter.response_status,
        "header": letter.response_header,
        "body": base64.b64encode(letter.response_body).decode(),
        "retried": message.retried,
        "maxRetries": message.max_retries,
        "sourceMessageId": message.message_id,
        "url": message.url,
        "method": message.method,
        "sourceHeader": message.header,
        "sourceBody": base64.b64encode(message.body).decode(),
        "notBefore": message.not_before,
        "createdAt": message.created_at,
        "callerIP": message.caller_ip,
        "dlqId": letter.dlq_id,
    }
