"""The attempts to deliver a message, read back from the queue's log.

The message is on its way or has ended. A job that was never reached knows nothing of its
message; the log of the queue says what became of it.
https://upstash.com/docs/qstash/howto/debug-logs
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple


class Attempt(NamedTuple):
    """One delivery of a message: `number` counts from 1 for every message of a job.

    `status` and `seconds` are None while it runs; `error` says what went wrong.
    """

    number: int
    at: datetime
    status: int | None = None
    error: str = ""
    seconds: float | None = None
    next_at: datetime | None = None

    @property
    def has_succeeded(self) -> bool:
        """Whether the answer was a 2xx."""
        return self.status is not None and 200 <= self.status <= 299

    @property
    def ended_at(self) -> datetime | None:
        """When the answer came, or the wait for it ended; None while the attempt runs."""
        return None if self.seconds is None else self.at + timedelta(seconds=self.seconds)


def read_attempts(events: Iterable[Mapping[str, Any]]) -> list[Attempt]:
    """Read the attempts in the log of one message, its events oldest first."""
    attempts: list[Attempt] = []
    for event in events:
        at = moment(event["time"])
        if event["state"] == "ACTIVE":
            attempts.append(Attempt(len(attempts) + 1, at))
        elif attempts and event["state"] in {"ERROR", "DELIVERED"}:
            attempts[-1] = attempts[-1]._replace(
                status=event["response_status"],
                error=event["error"],
                seconds=(at - attempts[-1].at).total_seconds(),
            )
        elif attempts and event["state"] == "RETRY" and event["next_delivery_time"]:
            attempts[-1] = attempts[-1]._replace(next_at=moment(event["next_delivery_time"]))
    return attempts


def moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)
