"""The time as the queue counts it: unix milliseconds, as on QStash's wire."""

import time

DAY_MS = 24 * 60 * 60 * 1000


def now_ms() -> int:
    """The present moment in unix milliseconds."""
    return time.time_ns() // 1_000_000
