"""The attempts to deliver a message as bars, read from its log.

The message waits, is being delivered or has ended. Its log says when it was accepted, when each
attempt began and how it ended; a bar is a span of the whole time from its acceptance to its end.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from console.masking import masked

MOST_BARS = 60
NARROWEST = 0.5  # percent: a bar that can be seen
LONGEST_ERROR = 300


class Span(NamedTuple):
    """What happened from one moment to another (unix ms), and how it ended."""

    state: str
    begins: int
    ends: int
    words: str


class Bar(NamedTuple):
    """A span as components/bars.html draws it: `start` and `width` in percent."""

    state: str
    start: float
    width: float
    label: str


def read_spans(lines: Iterable[Mapping[str, Any]], now: int) -> list[Span]:
    """The spans in a message's log (lines oldest first, as `/v2/events` answers them)."""
    spans: list[Span] = []
    waits_since, began, number = None, None, 0
    for line in lines:
        state, at = line["state"], int(line["time"])
        if state == "ACTIVE":
            if waits_since is not None:
                spans.append(Span("queued" if not number else "waiting", waits_since, at, "waited"))
            waits_since, began, number = None, at, number + 1
        elif state in {"ERROR", "DELIVERED", "CANCELED", "FAILED"} and began is not None:
            outcome = "succeeded" if state == "DELIVERED" else "failed"
            spans.append(Span(outcome, began, at, f"attempt {number}: {ending(line)}"))
            began = None
        elif state in {"CANCELED", "FAILED"} and waits_since is not None:
            spans.append(Span("cancelled", waits_since, at, "waited until it was cancelled"))
            waits_since = None
        if state in {"CREATED", "RETRY"}:
            waits_since = at
    if began is not None:
        spans.append(Span("running", began, max(now, began), f"attempt {number}: under way"))
    elif waits_since is not None:
        name = "waiting" if number else "queued"
        spans.append(Span(name, waits_since, max(now, waits_since), "waits"))
    return spans


def ending(line: Mapping[str, Any]) -> str:
    """How an attempt ended: a status, or why there was none."""
    status, error = line.get("responseStatus"), str(line.get("error") or "")
    if status:
        return f"HTTP {status}"
    return masked(error)[:LONGEST_ERROR] or (
        "delivered" if line["state"] == "DELIVERED" else "ended"
    )


def bars(lines: Iterable[Mapping[str, Any]], now: int) -> list[Bar]:
    """The last 60 spans of a message's log as bars over the time that they took together."""
    spans = read_spans(lines, now)[-MOST_BARS:]
    if not spans:
        return []
    first = spans[0].begins
    whole = max(span.ends for span in spans) - first or 1
    return [
        Bar(
            span.state,
            round(min(100 - NARROWEST, max(0.0, 100 * (span.begins - first) / whole)), 2),
            round(min(100.0, max(NARROWEST, 100 * (span.ends - span.begins) / whole)), 2),
            f"{span.words}, {duration(span.ends - span.begins)}",
        )
        for span in spans
    ]


def duration(ms: int) -> str:
    """A duration in the unit that suits it: `35 ms`, `1.2 s`, `3 min 5 s`, `2 h 10 min`."""
    if ms < 1000:
        return f"{max(0, ms)} ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    minutes, seconds = divmod(ms // 1000, 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def moment(unix_ms: int | None) -> datetime | None:
    """A moment of the wire as a template shows it; None for none that a calendar knows."""
    try:
        return datetime.fromtimestamp(int(unix_ms or 0) / 1000, UTC) if unix_ms else None
    except (ValueError, OverflowError, OSError):
        return None
