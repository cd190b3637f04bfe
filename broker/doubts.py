"""Give back claims that the dispatcher does not know it holds.

A message has been claimed, but the answer to the commit was lost, so its dispatcher does not
deliver it. Yet the dispatcher renews all of its claims, and would keep this one for ever. So after
an error it gives back every claim that it is not working on.
"""

import threading
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from broker.claiming import give_back
from groupcommit.statements import one_by_one

if TYPE_CHECKING:
    from broker.dispatcher import Dispatcher

UNKNOWN = "the attempt was lost: the database did not say that it had begun"
# A claim made in another thread's transaction reaches the dispatcher sooner than this, or never.
ON_THE_WAY_SECONDS = 6.0


class Doubts:
    """What a dispatcher cannot be sure of. Its threads share this."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.on_their_way: dict[int, float] = {}
        self.after_error = False

    def begin(self, messages: Collection[int]) -> None:
        """Messages are being claimed in another thread's transaction."""
        now = time.monotonic()
        with self.lock:
            self.on_their_way.update(dict.fromkeys(messages, now))

    def end(self, messages: Collection[int]) -> None:
        """They have reached the dispatcher."""
        with self.lock:
            for message in messages:
                self.on_their_way.pop(message, None)

    def exist(self) -> bool:
        """Whether the dispatcher may hold a claim that it does not know of."""
        if self.after_error:
            return True
        with self.lock:
            oldest = next(iter(self.on_their_way.values()), None)
        return oldest is not None and oldest < time.monotonic() - ON_THE_WAY_SECONDS

    def recent(self) -> set[int]:
        """Messages that may still reach the dispatcher; the others are forgotten."""
        since = time.monotonic() - ON_THE_WAY_SECONDS
        with self.lock:
            self.on_their_way = {m: at for m, at in self.on_their_way.items() if at > since}
            return set(self.on_their_way)


@one_by_one
def settle_doubts(dispatcher: "Dispatcher") -> int:
    """Make what a dispatcher holds and does not deliver due again; return how many messages.

    The writer's thread calls this, in which claims are made as well: what is not yet in flight
    then is on its way.
    """
    known = dispatcher.doubts.recent()
    known |= set(dispatcher.in_flight)
    return give_back(dispatcher.name, dispatcher.clock(), known, UNKNOWN)
