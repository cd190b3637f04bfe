"""A dispatcher that kills itself at a step: `python -m tests.killed_dispatcher STEP`.

STEP is `after-claim` (before the POST), `during-post` or `before-settle` (the answer is in).
"""

import asyncio
import os
import signal
import sys
from typing import Any

import django

django.setup()

from broker import delivery  # noqa: E402
from broker.dispatcher import Dispatcher  # noqa: E402
from broker.models import Message  # noqa: E402


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def deliver_and_die(session: Any, message: Message, key: str) -> delivery.Outcome:
    """Deliver as usual, and die on the way."""
    step = sys.argv[1]
    if step == "after-claim":
        die()
    if step == "during-post":
        asyncio.get_running_loop().call_later(1.2, die)
    outcome = await delivery.deliver(session, message, key)
    die()
    return outcome


asyncio.run(Dispatcher(deliver_and_die).run())
