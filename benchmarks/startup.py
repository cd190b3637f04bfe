"""Wait until processes have started up: they import for a while after their first answer."""

import time
from collections.abc import Callable

IDLE_SHARE = 0.05


def wait_until_started(cpu_seconds: Callable[[], float]) -> None:
    """Wait for a second in which processes use hardly any CPU, or no less than before."""
    used, last = cpu_seconds(), float("inf")
    while True:
        time.sleep(1)
        share, used = cpu_seconds() - used, cpu_seconds()
        if share < IDLE_SHARE or share > 0.8 * last:  # Huey's workers ask Redis all the time
            return
        last = share
