"""When a message that was not accepted is tried again: arithmetic, no I/O.

An attempt has failed, and the message is about to wait for the next one. For how long is up to
the destination (`Retry-After`), else to the publisher (`Upstash-Retry-Delay`), else to the
default backoff.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

from broker.clock import DAY_MS

DURATION = re.compile("[0-9]{1,12}|([0-9]{1,12}[smhd])+")
DURATION_PART = re.compile("([0-9]+)([smhd])")
GO_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
GO_UNIT_MS = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "ms": 1, "s": 1e3, "m": 6e4, "h": 36e5}
LARGEST_EXPRESSION = 500
DEEPEST_EXPRESSION = 20
LONGEST_HEADER = 100

# In the order in which they are looked for.
RETRY_HEADERS = (
    "Retry-After",
    "X-Ratelimit-Reset",
    "X-Ratelimit-Reset-Requests",
    "X-Ratelimit-Reset-Tokens",
)


def delay_ms(
    retried: int, expression: str, header: Mapping[str, Sequence[str]], now_ms: int
) -> int:
    """Return the milliseconds until the next attempt; `retried` is 0 before the first retry."""
    for name in RETRY_HEADERS:
        if values := header.get(name):
            asked = asked_by_destination(values[0], now_ms)
            if asked is not None and asked <= DAY_MS:
                return asked
            break
    if expression:
        planned = evaluate(expression, retried)
        if not math.isnan(planned):
            return int(min(max(planned, 0), DAY_MS))
    return default_backoff_ms(retried + 1)


def default_backoff_ms(retry: int) -> int:
    """e^(2.5 n) seconds before the n-th retry: 12 s, 2 min 28 s, 30 min, 6 h, then 24 h.
    https://upstash.com/docs/qstash/features/retry
    """
    return int(min(DAY_MS, 1000 * math.exp(2.5 * min(retry, 10))))


def asked_by_destination(value: str, now_ms: int) -> int | None:
    """Read a Retry-After value, return ms: seconds, an HTTP date, or a Go duration (`6m5s`)."""
    value = value.strip()[:LONGEST_HEADER]
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", value):
        return int(float(value) * 1000)
    if re.fullmatch(f"(?:{GO_DURATION.pattern})+", value):
        parts = GO_DURATION.findall(value)
        return int(sum(float(amount) * GO_UNIT_MS[unit] for amount, unit in parts))
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the latter for an absurd time zone
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, int(moment.timestamp() * 1000) - now_ms)


def duration_seconds(text: str) -> int:
    """`30s`, `1h30m3s`, `7d` or bare seconds. ValueError for anything else."""
    if not DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 30s or 1h30m")
    if text.isdigit():
        return int(text)
    return sum(int(amount) * UNIT_SECONDS[unit] for amount, unit in DURATION_PART.findall(text))


class ExpressionError(ValueError):
    """The retry delay is not an expression of numbers, `retried` and functions."""


FUNCTIONS: dict[str, tuple[int, Callable[..., float]]] = {
    "pow": (2, math.pow),
    "sqrt": (1, math.sqrt),
    "abs": (1, abs),
    "exp": (1, math.exp),
    "floor": (1, math.floor),
    "ceil": (1, math.ceil),
    "round": (1, round),
    "min": (2, min),
    "max": (2, max),
}
TOKEN = re.compile(r"\s*(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+|[A-Za-z]+|[-+*/(),])")


@lru_cache
def evaluate(expression: str, retried: int) -> float:
    """Return the value of a retry delay expression in ms; NaN where it has none (1/0).

    ExpressionError if it cannot be read, whatever `retried` is.
    https://upstash.com/docs/qstash/features/retry
    """
    parser = Parser(expression, retried)
    value = parser.total()
    if parser.tokens:
        raise ExpressionError(f"did not expect {parser.tokens[-1]!r}")
    return value


class Parser:
    """Recursive descent: total = product ± product …, product = factor */ factor …

    Division by zero and overflow give NaN, which then stays NaN.
    """

    def __init__(self, expression: str, retried: int) -> None:
        if len(expression) > LARGEST_EXPRESSION:
            raise ExpressionError(f"is longer than {LARGEST_EXPRESSION} characters")
        self.retried, self.depth = retried, 0
        self.tokens: list[str] = []
        position, end = 0, len(expression.rstrip())
        while position < end:
            if not (match := TOKEN.match(expression, position)):
                raise ExpressionError(f"cannot be read from {expression[position:][:20]!r} on")
            self.tokens.append(match[1])
            position = match.end()
        self.tokens.reverse()

    def accept(self, *tokens: str) -> str:
        """Take the next token if it is one of these."""
        return self.tokens.pop() if self.tokens and self.tokens[-1] in tokens else ""

    def expect(self, token: str) -> None:
        if not self.accept(token):
            found = repr(self.tokens[-1]) if self.tokens else "its end"
            raise ExpressionError(f"expected {token!r} but found {found}")

    def total(self) -> float:
        self.depth += 1
        if self.depth > DEEPEST_EXPRESSION:
            raise ExpressionError(f"is nested more than {DEEPEST_EXPRESSION} deep")
        value = self.product()
        while sign := self.accept("+", "-"):
            other = self.product()
            value = value + other if sign == "+" else value - other
        self.depth -= 1
        return value

    def product(self) -> float:
        value = self.factor()
        while sign := self.accept("*", "/"):
            other = self.factor()
            value = value * other if sign == "*" else defined(lambda a, b: a / b, value, other)
        return value

    def factor(self) -> float:
        negative = False
        while self.accept("-"):
            negative = not negative
        value = self.operand()
        return -value if negative else value

    def operand(self) -> float:
        if self.accept("("):
            value = self.total()
            self.expect(")")
            return value
        if not self.tokens:
            raise ExpressionError("ends too early")
        word = self.tokens.pop()
        if word == "retried":
            return float(self.retried)
        if word in FUNCTIONS:
            return self.call(word)
        if word[0].isdigit() or word[0] == ".":
            return float(word)
        raise ExpressionError(f"does not know {word!r}")

    def call(self, name: str) -> float:
        count, function = FUNCTIONS[name]
        self.expect("(")
        arguments = [self.total()]
        while len(arguments) < count:
            self.expect(",")
            arguments.append(self.total())
        self.expect(")")
        return defined(function, *arguments)


def defined(function: Callable[..., float], *arguments: float) -> float:
    """Return a function's value, or NaN if it or an argument has none."""
    if any(map(math.isnan, arguments)):
        return math.nan
    try:
        return float(function(*arguments))
    except (ArithmeticError, ValueError):
        return math.nan
