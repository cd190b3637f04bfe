"""What the templates show of messages, dead letters and schedules: masked, cut, harmless.

No message passes here. Texts come from whoever publishes messages or answers them, so each is
made one line of bounded length, without secrets and without characters that turn or hide text.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from broker.clock import now_ms
from broker.retry import delay_ms
from catcher.bodies import LONGEST_TEXT, VISIBLE, ShownBody, decoded, shown
from console.attempts import Bar, bars, duration, moment
from console.curl import as_curl
from console.interface import SHOWN_STATES, Detail, Json, Row
from console.masking import masked, masked_headers, masked_url

LONGEST_LINE = 300
LONGEST_URL = 160
LONGEST_REASON = 200
MOST_HEADERS = 200
MOST_DELAYS = 5
ONE_LINE = VISIBLE | {ord("\n"): "␊", ord("\r"): "␍", ord("\t"): " "}
# The facts of a message, by their names in QStash's API.
FACTS = {
    "method": "Method",
    "topicName": "URL group",
    "endpointName": "Endpoint",
    "queueName": "Queue",
    "flowControlKey": "Flow control key",
    "parallelism": "At once under the key",
    "rate": "Rate under the key",
    "period": "Period in seconds",
    "scheduleId": "Schedule",
    "maxRetries": "Retries at most",
    "retryDelayExpression": "Retry delay",
    "timeout": "Timeout",
    "callback": "Callback",
    "failureCallback": "Failure callback",
    "callerIP": "Published from",
}


class ShownRow(NamedTuple):
    """A message in a list, ready for the template."""

    row: Row
    url: str
    to: str
    at: datetime | None
    facts: list[tuple[str, str]]


class ShownMessage(NamedTuple):
    """A message's own page. `state` is one of the pages' states, `over` whether it is final."""

    message_id: str
    state: str
    over: bool
    url: str
    facts: list[tuple[str, str]]
    moments: list[tuple[str, datetime]]
    bars: list[Bar]
    cut: bool
    headers: list[tuple[str, str]]
    body: ShownBody
    response: dict[str, Any] | None
    claims: list[tuple[str, str]] | None
    curl: str
    letter: str
    version: str


def line(text: Any, longest: int = LONGEST_LINE) -> str:
    """One line of a text: without secrets, cut, every character visible."""
    return cut(masked(str(text)[: 4 * longest]).translate(ONE_LINE), longest)


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def line_of_url(url: str) -> str:
    return cut(masked_url(url[: 4 * LONGEST_URL]).translate(ONE_LINE), LONGEST_URL)


def without_origin(url: str, origin: str) -> str:
    """A URL of this site as a path, any other as it is."""
    return url.removeprefix(origin) if url.startswith(f"{origin}/") else url


def shown_row(row: Row, origin: str) -> ShownRow:
    named = {"queue": row.queue, "schedule": row.schedule, "URL group": row.group}
    facts = [(name, line(value, 60)) for name, value in named.items() if value]
    facts += [("label", line(label, 60)) for label in row.labels[:5]]
    url = line_of_url(row.url)
    return ShownRow(row, url, without_origin(url, origin), moment(row.at), facts)


def shown_letter(letter: Json, origin: str) -> Json:
    """A dead letter in a list, ready for the template."""
    status = whole(letter.get("responseStatus"))
    url = line_of_url(str(letter.get("url", "")))
    words = f"HTTP {status}" if status else "no answer"
    return {
        "id": str(letter.get("dlqId", "")),
        "message_id": str(letter.get("messageId", "")),
        "url": url,
        "to": without_origin(url, origin),
        "method": line(letter.get("method", ""), 20),
        "at": moment(whole(letter.get("failedAt"))),
        "status": words,
        "reason": reason_of(letter, words),
        "attempts": letter.get("attempts"),
        "job": str(letter.get("jobId", "")),
        "labels": [line(label, 60) for label in (letter.get("labels") or [])[:5]],
    }


def reason_of(letter: Json, status: str) -> str:
    """The last error, or where that is the status alone, how the answer begins."""
    error = str(letter.get("error") or "")
    if error and error != status:
        return line(error, LONGEST_REASON)
    answer = decoded(body_of(letter, "responseBody")[: 4 * LONGEST_REASON], "") or ""
    return line(" ".join(answer.split()), LONGEST_REASON)


def shown_detail(message_id: str, detail: Detail) -> ShownMessage:
    """A message with all that its page shows; takes some milliseconds for large bodies."""
    message = detail.message or {}
    state = SHOWN_STATES.get(detail.state, "queued")
    now = now_ms()
    if state == "queued" and whole(message.get("notBefore")) > now:
        state = "scheduled"
    headers = header_pairs(message.get("header"))
    body = body_of(message, "body")
    url = str(message.get("url", ""))
    return ShownMessage(
        message_id=message_id,
        state=state,
        over=state in {"succeeded", "failed", "cancelled"},
        url=line(url, 10_000),
        facts=facts_of(message),
        moments=moments_of(message),
        bars=bars(detail.log, now),
        cut=detail.cut,
        headers=[(line(name), line(value, 2000)) for name, value in headers],
        body=shown_body(body, content_type(headers)),
        response=response_of(detail),
        claims=claims_of(detail),
        curl=as_curl(str(message.get("method", "POST")), url, headers, body),
        letter=str((detail.letter or {}).get("dlqId", "")),
        version=f"{state}-{len(detail.log)}-{detail.log[-1]['time'] if detail.log else 0}",
    )


def facts_of(message: Json) -> list[tuple[str, str]]:
    found = [
        (label, masked_url(line(message[name], 2000)))
        for name, label in FACTS.items()
        if message.get(name) not in (None, "", [])
    ]
    found = [(label, in_words(label, value, message)) for label, value in found]
    if labels := message.get("labels") or [message[n] for n in ("label",) if message.get(n)]:
        found.append(("Labels", ", ".join(line(label) for label in labels[:20])))
    return found


def in_words(label: str, value: str, message: Json) -> str:
    """A fact; beside the expression of a retry delay, the delays that it gives."""
    if label != FACTS["retryDelayExpression"]:
        return value
    retries = min(whole(message.get("maxRetries")), MOST_DELAYS)
    expression = str(message["retryDelayExpression"])
    try:
        waits = [delay_ms(retried, expression, {}, 0) for retried in range(retries)]
    except ValueError:
        return value
    delays = ", then ".join(f"{ms / 1000:g} s" if ms < 60_000 else duration(ms) for ms in waits)
    return f"{value} (waits {delays})" if delays else value


def moments_of(message: Json) -> list[tuple[str, datetime]]:
    pairs = {"Published": message.get("createdAt"), "Not before": message.get("notBefore")}
    found = [(label, moment(whole(at))) for label, at in pairs.items()]
    return [(label, at) for label, at in found if at]


def whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def header_pairs(header: Any) -> list[tuple[str, str]]:
    """The headers of a message or a response, masked, one pair for each value."""
    if not isinstance(header, Mapping):
        return []
    texts = {str(n): v if isinstance(v, list) else [str(v)] for n, v in header.items()}
    return masked_headers({n: [str(v) for v in vs] for n, vs in texts.items()})[:MOST_HEADERS]


def content_type(headers: Iterable[tuple[str, str]]) -> str:
    return next((value for name, value in headers if name.lower() == "content-type"), "")


def body_of(fields: Json, name: str) -> bytes:
    """A body as QStash's API gives it: as text, or in base64 under another name."""
    if fields.get(name):
        return str(fields[name]).encode(errors="replace")
    try:
        return base64.b64decode(str(fields.get(f"{name}Base64") or ""))
    except (binascii.Error, ValueError):
        return b""


def shown_body(body: bytes, kind: str = "") -> ShownBody:
    """A body without secrets, as catcher/bodies.py formats it."""
    text = decoded(body[: 4 * LONGEST_TEXT], kind)
    if text is None:
        head = body[:4096].decode("latin-1")
        if masked(head) != head:
            return ShownBody(f"{len(body):,} bytes of binary data with a secret", "binary", True)
        return shown(body, kind)
    found = shown(masked(text).encode(errors="replace"), "text/plain")
    return found._replace(truncated=found.truncated or len(body) > 4 * LONGEST_TEXT)


def response_of(detail: Detail) -> dict[str, Any] | None:
    """The last answer that a message got: `{status, error, headers, body}`."""
    lines = [line for line in detail.log if line.get("responseStatus") or line.get("error")]
    last = next((one for one in reversed(lines) if one.get("responseStatus")), None)
    if last is None:
        return {"error": line(lines[-1]["error"], 1000)} if lines else None
    error = str(last.get("error") or "")
    headers = header_pairs(last.get("responseHeaders") or last.get("responseHeader"))
    body = body_of({"bodyBase64": last.get("responseBody")}, "body")
    if not body and detail.letter:
        body = body_of(detail.letter, "responseBody")
    return {
        "status": whole(last["responseStatus"]),
        "error": "" if error == f"HTTP {last['responseStatus']}" else line(error, 1000),
        "headers": [(line(name), line(value, 2000)) for name, value in headers],
        "body": shown_body(body, content_type(headers)),
    }


def claims_of(detail: Detail) -> list[tuple[str, str]] | None:
    if detail.claims is None:
        return None
    return [(name, explained(name, line(value, 2000))) for name, value in detail.claims.items()]


def explained(name: str, value: str) -> str:
    """A claim, and in words what cannot be guessed."""
    return f"{value} (valid from any time)" if (name, value) == ("nbf", "0") else value
