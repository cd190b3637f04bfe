"""The queue's time is unix milliseconds."""

import time

from broker.clock import DAY_MS, now_ms


def test_now_is_in_milliseconds():
    before = time.time()
    now = now_ms()
    assert before - 0.001 <= now / 1000 <= time.time()


def test_day_has_86_400_seconds():
    assert DAY_MS == 86_400_000
