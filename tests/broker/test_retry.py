"""When the next attempt is made: as the destination asks, else the publisher, else the default."""

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.clock import DAY_MS
from broker.retry import (
    ExpressionError,
    asked_by_destination,
    default_backoff_ms,
    delay_ms,
    duration_seconds,
    evaluate,
)
from tests.broker.messages import NOW


@pytest.mark.parametrize(
    ("retry", "seconds"), [(1, 12.18), (2, 148.4), (3, 1808), (4, 22026), (5, 86400), (999, 86400)]
)
def test_backoff_is_the_documented_table(retry, seconds):
    assert default_backoff_ms(retry) == pytest.approx(seconds * 1000, rel=0.001)


def test_first_retry_waits_twelve_seconds_by_default():
    assert delay_ms(0, "", {}, NOW) == 12_182


def test_expression_comes_before_the_default():
    assert [delay_ms(retried, "1000 * pow(2, retried)", {}, NOW) for retried in range(3)] == [
        1000,
        2000,
        4000,
    ]


def test_destination_comes_before_the_expression():
    assert delay_ms(0, "1000", {"Retry-After": ["7"]}, NOW) == 7000


@pytest.mark.parametrize(
    "name",
    ["Retry-After", "X-Ratelimit-Reset", "X-Ratelimit-Reset-Requests", "X-Ratelimit-Reset-Tokens"],
)
def test_every_documented_header_is_used(name):
    assert delay_ms(0, "1000", {name: ["7"]}, NOW) == 7000


def test_first_header_in_the_documented_order_decides():
    assert delay_ms(0, "", {"X-Ratelimit-Reset": ["9"], "Retry-After": ["7"]}, NOW) == 7000


@pytest.mark.parametrize("asked", ["86401", "25h", "soon", ""])
def test_unreadable_or_too_long_wait_is_ignored(asked):
    assert delay_ms(0, "1000", {"Retry-After": [asked]}, NOW) == 1000


@pytest.mark.parametrize(
    ("expression", "delay"), [("-5", 0), ("1e12", DAY_MS), ("exp(999)", 12_182), ("1/0", 12_182)]
)
def test_planned_delay_is_between_nothing_and_a_day(expression, delay):
    assert delay_ms(0, expression, {}, NOW) == delay


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        ("0", 0),
        ("120", 120_000),
        (" 1.5 ", 1500),
        ("6m5s", 365_000),
        ("1h0m0.5s", 3_600_500),
        ("150ms", 150),
        ("2000us", 2),
        ("2000µs", 2),
        ("3000000ns", 3),
        (formatdate(NOW / 1000 + 90, usegmt=True), 90_000),
        (formatdate(NOW / 1000 + 90), 90_000),
        (formatdate(NOW / 1000 - 90, usegmt=True), 0),
    ],
)
def test_destination_may_ask_in_seconds_a_date_or_a_go_duration(value, milliseconds):
    assert asked_by_destination(value, NOW) == milliseconds


@pytest.mark.parametrize("value", ["", "-5", "1e5", "5 minutes", "s", "Mon, 99 Foo 2024"])
def test_other_texts_are_ignored(value):
    assert asked_by_destination(value, NOW) is None


def test_absurd_waits_are_ignored():
    for value in ["9" * 400 + "s", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"]:
        assert delay_ms(0, "1000", {"Retry-After": [value]}, NOW) == 1000


@given(st.text() | st.text("0123456789.smhnuµ -+:,JanMoGT") | st.from_regex(r"(\d+\.?\d*[a-z]+)+"))
def test_no_answer_of_a_destination_breaks_the_queue(value):
    assert 0 <= delay_ms(0, "", {"Retry-After": [value]}, NOW) <= DAY_MS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1h30m3s", 5403), ("1d10h30m", 124_200), ("7d", 604_800), ("90", 90), ("0", 0)],
)
def test_duration_is_read(text, seconds):
    assert duration_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5s", "1.5s", "5 s", "5w", "5ms", "1h-", "٣s", "5s\n"])
def test_other_texts_are_not_a_duration(text):
    with pytest.raises(ValueError, match="not a duration"):
        duration_seconds(text)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1000", 1000),
        (" .5 + 1. ", 1.5),
        ("2e3", 2000),
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("12 / 3 / 2", 2),
        ("2 - -3", 5),
        ("--3", 3),
        ("-2 * -(1 + retried)", 6),
        ("7000 * retried", 14_000),
        ("1000 * (1 + retried)", 3000),
        ("pow(2, 10)", 1024),
        ("sqrt(16)", 4),
        ("abs(-3)", 3),
        ("exp(0)", 1),
        ("floor(2.7) + ceil(2.1) + round(2.6)", 8),
        ("min(3, 4) + max(3, 4)", 7),
        ("max(1000, min(pow(retried, 2), abs(-5)))", 1000),
    ],
)
def test_expression_has_its_value_at_the_second_retry(expression, value):
    assert evaluate(expression, retried=2) == value


@pytest.mark.parametrize(
    "expression",
    ["1/0", "1/retried", "sqrt(-1)", "exp(1000)", "floor(1/0)", "min(1, 1/0)", "pow(1, 1/0)"],
)
def test_expression_without_a_value_is_nan(expression):
    assert math.isnan(evaluate(expression, retried=0))


@pytest.mark.parametrize(
    "expression",
    [
        "", " ", "2 +", "* 2", "1 2", "(1", "1)", "()", "pow(1)", "pow(1, 2, 3)", "sqrt()",
        "sqrt 4", "foo(1)", "Retried", "retried()", "2 ** 3", "1 // 2", "1 % 2", "1,2", "1.2.3",
        "+1", "0x10", "__import__('os')", "retried.real", "1; 2", "1\x00", "💥", "1" * 501,
        "(" * 500, "(" * 200 + "1" + ")" * 200,
    ],
)  # fmt: skip
def test_other_texts_are_not_an_expression(expression):
    with pytest.raises(ExpressionError):
        evaluate(expression, retried=0)


WORDS = ["retried", "pow", "sqrt", "exp", "round", "min", "(", ")", ",", "+", "-", "*", "/", "9e9"]


@given(st.text() | st.lists(st.sampled_from(WORDS)).map(" ".join), st.integers(0, 2**31))
def test_any_text_is_an_expression_error_or_a_number(expression, retried):
    try:
        assert isinstance(evaluate(expression, retried), float)
    except ExpressionError as error:
        assert str(error)
