"""Wait for a condition, with a deadline that a slow machine does not miss."""

import asyncio
import time
from collections.abc import Callable


def eventually[T](look: Callable[[], T], seconds: float = 30, what: str = "it") -> T:
    """Return the first true answer of `look`; fail if there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := look():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)


async def until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Wait for something that happens on this event loop or in a thread."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
