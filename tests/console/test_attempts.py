"""A log becomes bars over the time that the message took."""

import pytest

from console.attempts import MOST_BARS, Bar, bars, duration, moment, read_spans


def line(state: str, time: int, **fields: object) -> dict[str, object]:
    return {"state": state, "time": time} | fields


RETRIED = [
    line("CREATED", 0),
    line("ACTIVE", 100),
    line("ERROR", 200, error="HTTP 500", responseStatus=500),
    line("RETRY", 200, nextDeliveryTime=700),
    line("ACTIVE", 700),
    line("DELIVERED", 1000, responseStatus=200),
]


def test_waits_and_attempts_are_spans():
    assert [(s.state, s.begins, s.ends, s.words) for s in read_spans(RETRIED, 5000)] == [
        ("queued", 0, 100, "waited"),
        ("failed", 100, 200, "attempt 1: HTTP 500"),
        ("waiting", 200, 700, "waited"),
        ("succeeded", 700, 1000, "attempt 2: HTTP 200"),
    ]


def test_bars_are_percent_of_the_whole_time():
    assert bars(RETRIED, 5000) == [
        Bar("queued", 0, 10, "waited, 100 ms"),
        Bar("failed", 10, 10, "attempt 1: HTTP 500, 100 ms"),
        Bar("waiting", 20, 50, "waited, 500 ms"),
        Bar("succeeded", 70, 30, "attempt 2: HTTP 200, 300 ms"),
    ]


def test_attempt_under_way_lasts_until_now():
    assert bars(RETRIED[:2], 400)[-1] == Bar("running", 25, 75, "attempt 1: under way, 300 ms")


def test_message_that_waits_waits_until_now():
    assert bars(RETRIED[:1], 400) == [Bar("queued", 0, 100, "waits, 400 ms")]
    assert bars(RETRIED[:4], 400)[-1].state == "waiting"


def test_failed_message_has_its_last_attempt_once():
    failed = [*RETRIED[:3], line("FAILED", 200, error="HTTP 500")]
    assert [span.state for span in read_spans(failed, 900)] == ["queued", "failed"]


def test_cancelled_message_waited_until_then():
    log = [line("CREATED", 0), line("CANCEL_REQUESTED", 50), line("CANCELED", 50)]
    assert [(s.state, s.ends) for s in read_spans(log, 900)] == [("cancelled", 50)]


def test_error_is_masked_and_cut():
    log = [line("CREATED", 0), line("ACTIVE", 1), line("ERROR", 2, error="Bearer abcdefghi " * 99)]
    (_, bar) = bars(log, 9)
    assert "abcdefghi" not in bar.label
    assert len(bar.label) < 400


def test_log_without_lines_has_no_bars():
    assert bars([], 1) == []


def test_number_of_bars_is_bounded_and_each_can_be_seen():
    log = [line("CREATED", 0)]
    for attempt in range(500):
        at = 1000 * attempt
        log += [line("ACTIVE", at), line("ERROR", at, error="x"), line("RETRY", at)]
    drawn = bars(log, 500_000)
    assert len(drawn) == MOST_BARS
    assert all(0 <= bar.start < 100 and 0.5 <= bar.width <= 100 for bar in drawn)


def test_clock_that_was_set_back_breaks_nothing():
    log = [line("CREATED", 1000), line("ACTIVE", 900), line("DELIVERED", 800, responseStatus=200)]
    assert all(bar.width >= 0.5 and 0 <= bar.start < 100 for bar in bars(log, 700))


@pytest.mark.parametrize(
    "ms, words",
    [
        (-5, "0 ms"), (35, "35 ms"), (1234, "1.2 s"), (185_000, "3 min 5 s"),
        (7_800_000, "2 h 10 min"), (9 * 86_400_000, "9 days"),
    ],
)  # fmt: skip
def test_duration_has_the_unit_that_suits_it(ms, words):
    assert duration(ms) == words


@pytest.mark.parametrize("unix_ms", [None, 0, 10**18, -(10**18)])
def test_moment_that_no_calendar_knows_is_none(unix_ms):
    assert moment(unix_ms) is None
