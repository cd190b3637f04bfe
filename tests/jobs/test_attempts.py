"""The attempts at a message, read back from the queue's log."""

from datetime import UTC, datetime
from typing import Any

from jobs.attempts import Attempt, read_attempts


def event(state: str, time: int, **fields: Any) -> dict[str, Any]:
    given = {"error": "", "response_status": None, "next_delivery_time": None}
    return {"state": state, "time": time} | given | fields


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


FAILED_ONCE = [
    event("CREATED", 0),
    event("ACTIVE", 1000),
    event("ERROR", 1500, error="HTTP 500", response_status=500),
    event("RETRY", 1500, next_delivery_time=2500),
]


def test_message_that_waits_has_no_attempts():
    assert read_attempts([]) == []
    assert read_attempts([event("CREATED", 0)]) == []


def test_attempt_that_runs_has_no_outcome_yet():
    assert read_attempts([event("CREATED", 0), event("ACTIVE", 1000)]) == [Attempt(1, at(1))]


def test_attempt_that_failed_says_why_and_when_the_next_one_comes():
    (attempt,) = read_attempts(FAILED_ONCE)
    assert (attempt.status, attempt.error, attempt.seconds) == (500, "HTTP 500", 0.5)
    assert attempt.next_at == at(2.5)


def test_attempts_are_numbered_from_one():
    delivered = event("DELIVERED", 2750, response_status=200)
    first, second = read_attempts([*FAILED_ONCE, event("ACTIVE", 2500), delivered])
    assert (first.number, second.number) == (1, 2)
    assert (second.status, second.error, second.seconds) == (200, "", 0.25)


def test_attempt_that_reached_nobody_has_an_error_and_no_status():
    error = event("ERROR", 1500, error="connection refused")
    (attempt,) = read_attempts([event("ACTIVE", 1000), error])
    assert (attempt.status, attempt.error) == (None, "connection refused")


def test_log_whose_beginning_is_gone_is_read_from_the_first_attempt_on():
    (attempt,) = read_attempts([*FAILED_ONCE[2:], event("ACTIVE", 2500)])
    assert (attempt.number, attempt.at) == (1, at(2.5))


def test_states_that_are_no_attempts_are_passed_over():
    states = [event("FAILED", 1500), event("CANCELED", 1600), event("A_NEW_ONE", 1700)]
    assert len(read_attempts([*FAILED_ONCE, *states])) == 1
