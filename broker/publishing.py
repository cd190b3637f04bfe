"""A request's headers and body become a durable message.

The publisher is waiting. `read_message` checks what is asked for, `store` writes it down; once
that transaction has committed the message outlives any crash, and the dispatchers are woken
to claim it. Options are QStash's
headers: https://upstash.com/docs/qstash/api-reference/messages/publish-a-message
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from broker import wakeup
from broker.delivery import canonical
from broker.models import (
    DEDUPLICATION_WINDOW_MS,
    DeadLetter,
    Event,
    Message,
    State,
    now_ms,
)
from broker.retry import ExpressionError, duration_seconds, evaluate
from groupcommit.statements import insert_all
from groupcommit.transactions import write_transaction

LARGEST_KEY = 255
LARGEST_INTEGER = 2**31 - 1
LONGEST_SECONDS = 366 * 24 * 3600
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
FORWARD = "upstash-forward-"
FAILURE_CALLBACK = "upstash-failure-callback"
# Left as it is in a destination: everything a URL may hold, and what is encoded already.
URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=~"
# Set by delivery, never by the publisher.
RESERVED = {
    "connection", "content-length", "content-type", "host", "keep-alive", "te", "trailer",
    "transfer-encoding", "upgrade", "upstash-caller-ip", "upstash-message-id",
    "upstash-retried", "upstash-signature", "user-agent",
}  # fmt: skip
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class PublishError(ValueError):
    """The message cannot be accepted; the text names the header and what it should be."""


class Receipt(NamedTuple):
    """What the publisher is told."""

    message_id: str
    deduplicated: bool = False


def publish(message: Message) -> Receipt:
    """Store one message in the present transaction, or in one of its own."""
    with write_transaction():
        return store([message])[0]


def store(messages: list[Message]) -> list[Receipt]:
    """Write messages and the first line of their logs, and wake the dispatchers.

    Durable once the surrounding transaction has committed. A message whose deduplication
    key is taken is not stored: its receipt names the one that came first.
    """
    stored = insert_all(messages, key="message_id")
    receipts, events = [], []
    for message in messages:
        if message.message_id not in stored:
            if first := first_with(message):
                receipts.append(Receipt(first.message_id, deduplicated=True))
                continue
            stored |= insert_all([message], key="message_id")
        message.pk = stored[message.message_id]
        receipts.append(Receipt(message.message_id))
        events.append(created(message))
    insert_all(events)
    wakeup.on_commit()
    return receipts


def created(message: Message) -> Event:
    """The first line of a message's log."""
    delayed = message.not_before > message.created_at
    return Event(
        message=message,
        state=State.CREATED,
        time=message.created_at,
        next_delivery_time=message.not_before if delayed else None,
    )


def first_with(message: Message) -> Message | None:
    """Who holds a message's deduplication key; None, and it is free, after the window."""
    holder = Message.objects.filter(
        account=message.account, deduplication_key=message.deduplication_key
    )
    window_began = message.created_at - DEDUPLICATION_WINDOW_MS
    holder.filter(created_at__lte=window_began).update(deduplication_key="")
    return holder.first()


def read_message(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    account: str = "site",
    caller_ip: str = "",
) -> Message:
    """An unsaved message from what a publisher asks for; PublishError if an option is wrong."""
    fields = read_fields(url, headers, now_ms())
    check_failure_callback(fields)
    return Message(**fields, body=body, account=account, caller_ip=caller_ip)


def read_fields(url: str, headers: Mapping[str, str], now: int) -> dict[str, Any]:
    """A message's fields from its destination and options."""
    options = checked_options(headers)
    not_before = now + 1000 * duration(options, "upstash-delay", 0)
    if "upstash-not-before" in options:
        not_before = max(now, 1000 * whole_number(options, "upstash-not-before", 0, 10**12))
    return {
        "url": checked_url(url),
        "method": checked_method(options.get("upstash-method", "POST")),
        "header": forwarded(options),
        "created_at": now,
        "not_before": not_before,
        "due_at": not_before,
        "timeout_seconds": duration(options, "upstash-timeout", 0) or None,
        "max_retries": whole_number(options, "upstash-retries", 3, LARGEST_INTEGER),
        "retry_delay_expression": checked_expression(options.get("upstash-retry-delay", "")),
        "failure_callback": options.get(FAILURE_CALLBACK, ""),
        "failure_callback_header": {
            "Upstash-" + name.removeprefix(f"{FAILURE_CALLBACK}-"): value
            for name, value in options.items()
            if name.startswith(f"{FAILURE_CALLBACK}-")
        },
        "labels": [label for label in options.get("upstash-label", "").split(",") if label],
        "deduplication_key": checked_key(options.get("upstash-deduplication-id", "")),
    }


def checked_options(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by lower-case name, fit to be sent on: those of a query may hold anything."""
    options = {name.lower(): value.strip() for name, value in headers.items()}
    for name, value in options.items():
        named = HEADER_NAME.fullmatch(name.removeprefix(FORWARD))
        if not named or CONTROL_CHARACTER.search(value):
            raise PublishError(f"{canonical(name)!r} is not a header, or its value cannot be one")
    return options


def check_failure_callback(fields: dict[str, Any]) -> None:
    """Read the callback's options now: once the message has failed nobody can be told."""
    if url := fields["failure_callback"]:
        try:
            callback = read_fields(url, fields["failure_callback_header"], now_ms())
        except PublishError as error:
            raise PublishError(f"failure callback: {error}") from error
        check_failure_callback(callback)


def checked_method(method: str) -> str:
    if method.upper() not in METHODS:
        raise PublishError(f"Upstash-Method must be one of {', '.join(METHODS)}")
    return method.upper()


def checked_expression(expression: str) -> str:
    """A retry delay that can be evaluated later."""
    try:
        if expression:
            evaluate(expression, retried=0)
    except ExpressionError as error:
        raise PublishError(f"Upstash-Retry-Delay {error}") from error
    return expression


def checked_key(key: str) -> str:
    if ":" in key:
        raise PublishError("DeduplicationId cannot contain ':'")
    if len(key) > LARGEST_KEY:
        raise PublishError(f"Upstash-Deduplication-Id is longer than {LARGEST_KEY} characters")
    return key


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


def checked_url(url: str) -> str:
    """An absolute http(s) URL; what a URL cannot hold is encoded, the rest left alone."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as error:
        raise PublishError(f"invalid destination url: {error}") from error
    if parts.scheme not in {"http", "https"}:
        raise PublishError(
            "invalid destination url: endpoint has invalid scheme, add http:// or https://"
        )
    if not usable:
        raise PublishError("invalid destination url: endpoint has no host")
    return quote(url, safe=URL_CHARACTERS)


def whole_number(options: Mapping[str, str], name: str, default: int, largest: int) -> int:
    text = options.get(name, "") or str(default)
    if not re.fullmatch("[0-9]{1,12}", text) or int(text) > largest:
        raise PublishError(
            f"{canonical(name)} must be a whole number up to {largest}, not {text!r}"
        )
    return int(text)


def duration(options: Mapping[str, str], name: str, default: int) -> int:
    try:
        seconds = duration_seconds(options[name]) if options.get(name) else default
    except ValueError as error:
        raise PublishError(f"{canonical(name)}: {error}") from error
    if seconds > LONGEST_SECONDS:
        raise PublishError(f"{canonical(name)}: {options[name]!r} is longer than a year")
    return seconds


def publish_failure_callback(message: Message, letter: DeadLetter) -> None:
    """Tell the publisher's failure callback, by a message of its own, what became of one."""
    if not message.failure_callback:
        return
    headers = {
        "Upstash-Retries": str(message.max_retries),
        **message.failure_callback_header,
        "Content-Type": "application/json",
    }
    body = json.dumps(failure_report(message, letter)).encode()
    url, account, caller_ip = message.failure_callback, message.account, message.caller_ip
    publish(read_message(url, headers, body, account, caller_ip))


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
