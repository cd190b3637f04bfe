"""Count what visitors and their addresses do, in a moving window of a minute.

No message passes here: limits.py asks before a click or an upload reaches its view. The counts
are in the memory of a process.
"""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

from django.conf import settings
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from console.networks import network_of
from operations.limits import Kind


class Excess(NamedTuple):
    """One more than is allowed: who has done it how often, and when it will be allowed again."""

    who: str
    most: int
    seconds: int


class Counter:
    """Counts in a moving window of a minute. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock, self.latest = clock, clock()
        self.storage = MemoryStorage()
        self.limiter = MovingWindowRateLimiter(self.storage)

    def count(self, kind: Kind, visitor: str, address: str) -> Excess | None:
        """Count one more; the excess if it is one too many for the visitor or the address."""
        now = self.clock()
        if now < self.latest:  # the clock was put back: what was counted lies in the future
            self.storage.reset()
        self.latest = now
        most: int = getattr(settings, kind.setting)
        limits = {f"visitor {visitor}": most} if visitor else {}
        limits[f"address {network_of(address)}"] = most * settings.LIMIT_VISITORS
        for who, allowed in limits.items():
            item = RateLimitItemPerMinute(allowed)
            if most and not self.limiter.hit(item, kind.setting, who):
                free_at = self.limiter.get_window_stats(item, kind.setting, who).reset_time
                return Excess(who, allowed, max(1, math.ceil(free_at - now)))
        return None

    def is_first(self, who: str) -> bool:
        """Whether this is the first in a minute; so a flood does not fill the log."""
        return self.limiter.hit(RateLimitItemPerMinute(1), "logged", who)
