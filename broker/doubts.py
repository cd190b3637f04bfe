"""Give back claims of which nobody knows: the answer to their commit was lost.

A message has been claimed, and the dispatcher that claimed it does not deliver it, as it was told
that the database did not answer. It would renew the claim for ever with those of its deliveries.
So after an error it gives back what is its own and not under way.
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
# A claim made in another's transaction reaches the dispatcher long before, or never.
ON_THE_WAY_SECONDS = 6.0


class Doubts:
    """What a dispatcher does not know of its claims. Its threads share this."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.on_their_way: dict[int, float] = {}
        self.after_error = False

    def begin(self, messages: Collection[int]) -> None:
        """Messages are being claimed in a transaction of somebody else's."""
        now = time.monotonic()
        with self.lock:
            self.on_their_way.update(dict.fromkeys(messages, now))

    def end(self, messages: Collection[int]) -> None:
        """They have reached the dispatcher."""
        with self.lock:
            for message in messages:
                self.on_their_way.pop(message, None)

    def exist(self) -> bool:
        """Whether some claim may be the dispatcher's without its knowing."""
        if self.after_error:
            return True
        with self.lock:
            oldest = next(iter(self.on_their_way.values()), None)
        return oldest is not None and oldest < time.monotonic() - ON_THE_WAY_SECONDS

    def recent(self) -> set[int]:
        """Messages that may yet reach the dispatcher; the others are forgotten."""
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
