"""Counts in a moving window: whose they are, and what a clock that moves does to them."""

import time

import pytest

from operations.counting import Counter
from operations.limits import BINS, JOBS


@pytest.fixture(autouse=True)
def limits(settings) -> None:
    """Two jobs a visitor, four an address."""
    settings.LIMIT_JOBS, settings.LIMIT_BINS, settings.LIMIT_VISITORS = 2, 1, 2


@pytest.fixture
def counter() -> Counter:
    """That of a new process."""
    return Counter()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "not an address", True),
    ],
)
def test_address_is_counted_by_its_network(counter, one, other, same):
    assert [counter.count(BINS, "", one) for _ in range(2)] == [None, None]
    assert (counter.count(BINS, "", other) is not None) is same


def test_clock_that_is_put_back_locks_nobody_out(monkeypatch):
    present = time.time
    monkeypatch.setattr(time, "time", lambda: present() + 3600)  # an hour fast
    counter = Counter(lambda: time.time())
    for _ in range(3):
        excess = counter.count(JOBS, "v", "192.0.2.1")
    assert excess.seconds <= 60
    monkeypatch.setattr(time, "time", present)
    assert counter.count(JOBS, "v", "192.0.2.1") is None


def test_a_minute_later_it_is_allowed_again(counter, monkeypatch):
    present = time.time
    for _ in range(3):
        excess = counter.count(JOBS, "v", "192.0.2.1")
    assert excess.who == "visitor v"
    monkeypatch.setattr(time, "time", lambda: present() + excess.seconds + 1)
    assert counter.count(JOBS, "v", "192.0.2.1") is None
