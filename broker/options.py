"""What a publisher asks for, read from headers and checked.

The message has just arrived in a request to `/v2/`, or is about to be made as a callback or by
a schedule. After this module its options are the fields of a `Message`, and publishing.py
stores it. The options are QStash's headers:
https://upstash.com/docs/qstash/api-reference/messages/publish-a-message
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from django.conf import settings

from broker.errors import Rejected
from broker.headers import RESERVED, canonical
from broker.retry import ExpressionError, duration_seconds, evaluate

# Option headers by lower-case name, each with every value it was given.
type Options = Mapping[str, list[str]]

LARGEST_KEY = 255
LARGEST_INTEGER = 2**31 - 1
LARGEST_URL = 8192
LARGEST_HEADER = 64 * 1024
LONGEST_PERIOD_SECONDS = 7 * 24 * 3600
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
DEFAULT_RETRIES = 3
SCHEMES = ("http", "https")
BOOLEANS = ("true", "false")
FORWARD = "upstash-forward-"
CALLBACKS = ("upstash-callback", "upstash-failure-callback")
# Left unchanged in a destination: all that a URL may contain, and what is encoded already.
URL_CHARACTERS = "%:/?#[]@!$&'()*+,;=~"
# Meant for the queue alone, so forwarding "all headers" leaves them out.
OWN_TO_CLIENT = {"authorization", "accept-encoding"}
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]|[\ud800-\udfff]")
REDACTED = re.compile(r"(body|headers?)|headers?\[([^\]]+)\]", re.IGNORECASE)


def checked_options(headers: Mapping[str, str | list[str]]) -> dict[str, list[str]]:
    """Headers as options that can be sent on; those of a query may contain anything."""
    options: dict[str, list[str]] = {}
    for name, value in headers.items():
        for text in [value] if isinstance(value, str) else value:
            options.setdefault(name.lower(), []).append(text.strip())
    for name, values in options.items():
        if not HEADER_NAME.fullmatch(name) or name == FORWARD:
            raise Rejected(f"{name[:100]!r} is not the name of a header")
        if any(CONTROL_CHARACTER.search(value) for value in values):
            raise Rejected(f"{canonical(name)} holds a character that no header may hold")
        if sum(map(len, values)) > LARGEST_HEADER:
            raise Rejected(f"{canonical(name)} is longer than {LARGEST_HEADER} characters")
    return options


def read_fields(url: str, options: Options, now: int) -> dict[str, Any]:
    """A message's fields from its destination and checked options; Rejected if one is wrong.

    `now` is in unix ms.
    """
    parts = checked_url(url)
    fields = {
        "url": quoted(url),
        "host": parts.netloc.rpartition("@")[2].lower(),
        "path": parts.path or "/",
        "method": checked_method(text(options, "upstash-method") or "POST"),
        "header": forwarded(options),
        "created_at": now,
        "not_before": earliest_delivery(options, now),
        "timeout_seconds": timeout(options),
        "max_retries": whole_number(
            options, "upstash-retries", DEFAULT_RETRIES, settings.BROKER_RETRIES
        ),
        "retry_delay_expression": checked_expression(text(options, "upstash-retry-delay")),
        "labels": checked_labels(options),
        "redacted": redacted(options),
        "deduplication_key": text(options, "upstash-deduplication-id"),
        **flow_control(options),
        **callbacks(options, now),
    }
    check_key("Upstash-Deduplication-Id", fields["deduplication_key"])
    if ":" in fields["deduplication_key"]:
        raise Rejected("DeduplicationId cannot contain ':'")
    return fields


def text(options: Options, name: str) -> str:
    """An option's value; several are joined with commas, as in HTTP (RFC 9110)."""
    return ", ".join(options.get(name, []))


def checked_url(url: str) -> SplitResult:
    """An absolute http(s) URL in its parts."""
    try:
        parts = urlsplit(quoted(url))
        usable = parts.scheme in SCHEMES and parts.hostname and parts.port != 0
    except ValueError as error:
        raise Rejected(f"invalid destination url: {error}") from error
    if parts.scheme not in SCHEMES:
        raise Rejected(
            "invalid destination url: endpoint has invalid scheme, add http:// or https://"
        )
    if not usable:
        raise Rejected("invalid destination url: endpoint has no host")
    if len(url) > LARGEST_URL:
        raise Rejected(f"invalid destination url: longer than {LARGEST_URL} characters")
    return parts


def quoted(url: str) -> str:
    """A URL without its fragment, with characters encoded that it may not contain."""
    try:
        return quote(url, safe=URL_CHARACTERS).partition("#")[0]
    except UnicodeEncodeError as error:
        raise Rejected(f"invalid destination url: {error}") from error


def checked_name(name: str, what: str) -> str:
    """The name of a queue, URL group or schedule."""
    if not NAME.fullmatch(name):
        raise Rejected(
            f"{what} {name[:140]!r} must be 1 to 128 letters, digits, dots, dashes and underscores"
        )
    return name


def checked_method(method: str) -> str:
    if method.upper() not in METHODS:
        raise Rejected(f"Upstash-Method must be one of {', '.join(METHODS)}")
    return method.upper()


def checked_expression(expression: str) -> str:
    """A retry delay that can be evaluated later."""
    try:
        if expression:
            evaluate(expression, retried=0)
    except ExpressionError as error:
        raise Rejected(f"Upstash-Retry-Delay {error}") from error
    return expression


def check_key(name: str, key: str) -> None:
    if len(key) > LARGEST_KEY:
        raise Rejected(f"{name} is longer than {LARGEST_KEY} characters")


def checked_labels(options: Options) -> str:
    """Labels as the row keeps them: `,one,two,`."""
    labels = [label.strip() for label in text(options, "upstash-label").split(",")]
    check_key("Upstash-Label", max(labels, key=len))
    return f",{','.join(filter(None, labels))}," if any(labels) else ""


def earliest_delivery(options: Options, now: int) -> int:
    """When a message may be delivered, in unix ms; `Upstash-Not-Before` overrides the delay."""
    moment = now + 1000 * duration(options, "upstash-delay", 0)
    if "upstash-not-before" in options:
        moment = 1000 * whole_number(options, "upstash-not-before", 0, 10**12)
    if moment > now + 1000 * 24 * 3600 * settings.BROKER_DELAY_DAYS:
        name = "Upstash-Not-Before" if "upstash-not-before" in options else "Upstash-Delay"
        raise Rejected(f"{name} is more than {settings.BROKER_DELAY_DAYS} days from now")
    return max(now, moment)


def timeout(options: Options) -> int | None:
    """Seconds an attempt may take, None for the queue's own limit; it can only be shortened."""
    seconds = duration(options, "upstash-timeout", 0)
    return min(seconds, settings.BROKER_TIMEOUT_SECONDS) or None


def whole_number(options: Options, name: str, default: int, largest: int) -> int:
    given = text(options, name) or str(default)
    if not re.fullmatch("[0-9]{1,12}", given) or int(given) > largest:
        raise Rejected(
            f"{canonical(name)} must be a whole number up to {largest}, not {given[:100]!r}"
        )
    return int(given)


def duration(options: Options, name: str, default: int) -> int:
    """A duration in seconds."""
    given = text(options, name)
    try:
        seconds = duration_seconds(given[:100]) if given else default
    except ValueError as error:
        raise Rejected(f"{canonical(name)}: {error}") from error
    if seconds > LARGEST_INTEGER:
        raise Rejected(f"{canonical(name)}: {given[:100]!r} is too long")
    return seconds


def yes(options: Options, name: str) -> bool:
    word = text(options, name).lower()
    if word not in {"", *BOOLEANS}:
        raise Rejected(f"{canonical(name)} must be true or false, not {word[:100]!r}")
    return word == "true"


def forwarded(options: Options) -> dict[str, list[str]]:
    """The headers for the destination: `Upstash-Forward-X` as `X`, and the Content-Type.

    Headers of a workflow keep their names.
    """
    header: dict[str, list[str]] = {}
    if yes(options, "upstash-header-forward"):
        for name, values in options.items():
            if not name.startswith("upstash-") and name not in OWN_TO_CLIENT:
                header[canonical(name)] = list(values)
    for name, values in options.items():
        if name.startswith("upstash-workflow-"):
            header[canonical(name)] = list(values)
        elif name.startswith(FORWARD):
            header[canonical(name.removeprefix(FORWARD))] = list(values)
    header = {name: values for name, values in header.items() if name.lower() not in RESERVED}
    header.pop("Content-Type", None)
    if content_type := text(options, "content-type"):
        header["Content-Type"] = [content_type]
    return header


def flow_control(options: Options) -> dict[str, Any]:
    """The flow control key and its limits: `parallelism=2, rate=10, period=1m`."""
    key = text(options, "upstash-flow-control-key")
    value = text(options, "upstash-flow-control-value")
    if not key and not value:
        return {}
    check_key("Upstash-Flow-Control-Key", key)
    if not key or not value:
        raise Rejected(
            "Upstash-Flow-Control-Key and Upstash-Flow-Control-Value go together: "
            "a key, and parallelism=N, rate=N or both"
        )
    limits = {"period": 1}
    for part in value.split(","):
        name, _, amount = part.partition("=")
        limits[name.strip()] = limit(name.strip(), amount.strip())
    if not {"parallelism", "rate"} & limits.keys():
        raise Rejected("Upstash-Flow-Control-Value must set parallelism, rate or both")
    return {"flow_control_key": key, "flow_control": limits}


def limit(name: str, amount: str) -> int:
    """One limit of a flow control value."""
    field = f"upstash-flow-control-value {name}"
    if name == "period":
        number, largest = duration({field: [amount]}, field, 0), LONGEST_PERIOD_SECONDS
    elif name in {"parallelism", "rate"}:
        largest = LARGEST_INTEGER
        number = whole_number({field: [amount]}, field, 0, largest)
    else:
        raise Rejected(
            f"Upstash-Flow-Control-Value knows parallelism, rate and period, not {name[:100]!r}"
        )
    if not 1 <= number <= largest:
        raise Rejected(f"Upstash-Flow-Control-Value {name} must be from 1 to {largest}")
    return number


def callbacks(options: Options, now: int) -> dict[str, Any]:
    """Where to report, and how; checked now, while the publisher can still be told."""
    fields: dict[str, Any] = {}
    for option in CALLBACKS:
        own = {
            "upstash-" + name.removeprefix(f"{option}-"): list(values)
            for name, values in options.items()
            if name.startswith(f"{option}-")
        }
        field = option.removeprefix("upstash-").replace("-", "_")
        fields[field] = text(options, option)
        fields[f"{field}_header"] = own if fields[field] else {}
        if fields[field]:
            check_callback(canonical(option), fields[field], own, now)
    return fields


def check_callback(name: str, url: str, options: Options, now: int) -> None:
    if {"upstash-delay", "upstash-not-before"} & options.keys():
        raise Rejected(f"{name}: a callback cannot be delayed")
    try:
        _ = read_fields(url, options, now) if options else checked_url(url)
    except Rejected as error:
        raise Rejected(f"{name}: {error}") from error


def redacted(options: Options) -> list[str]:
    """The fields not to be shown: `body`, `header`, `header[Name]`."""
    fields = []
    for word in filter(None, map(str.strip, text(options, "upstash-redact-fields").split(","))):
        if not (match := REDACTED.fullmatch(word)):
            raise Rejected(
                f"Upstash-Redact-Fields knows body, header and header[Name], not {word[:100]!r}"
            )
        whole, name = match.groups()
        fields.append(f"header[{canonical(name)}]" if name else whole.lower().removesuffix("s"))
    return fields
