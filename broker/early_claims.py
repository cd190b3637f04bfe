"""Claim messages in the transaction that stores them, for a dispatcher that is idle.

A message is being stored. If a dispatcher of this process has nothing to do, the message is
claimed at once; after the commit dispatcher.py delivers it.
"""

import asyncio
import functools
import threading
from typing import TYPE_CHECKING

from broker import wakeup
from broker.claiming import ClaimedMessages, claim

if TYPE_CHECKING:
    from broker.dispatcher import Dispatcher

# A dispatcher with more than this in flight has enough to do, and claims by itself.
BUSY = 20


class EarlyClaims:
    """Claim messages for a dispatcher that is idle, in the transaction that stores them.

    The dispatcher then needs no transaction of its own to claim them. What this saves, as the
    median time from a publish to its settled delivery on an idle site: 7.2 to 8.9 ms with it
    and 9.1 ms without when it was made; in three interleaved runs of each on another day, 5.2
    to 5.9 ms with it and 5.8 to 6.6 ms without.
    """

    def __init__(self, dispatcher: "Dispatcher", loop: asyncio.AbstractEventLoop) -> None:
        self.dispatcher, self.loop = dispatcher, loop
        self.lock = threading.Lock()
        self.on_their_way = 0  # claimed, but not yet in flight

    def on_store(self) -> wakeup.Callback:
        """Claim if the dispatcher is idle; return what to call after the commit.

        Called by whatever thread stores, while the dispatcher runs on its event loop.
        """
        dispatcher = self.dispatcher
        held = len(dispatcher.in_flight) + self.on_their_way
        room = min(dispatcher.limit - held, BUSY)
        if dispatcher.stopping or held > BUSY or room <= 0:
            return self.wake
        [claimed] = claim([dispatcher.terms(room)])
        dispatcher.doubts.begin(claimed.ids)
        return functools.partial(self.hand_over, claimed) if claimed.rows else self.wake

    def wake(self) -> None:
        """Have the dispatcher claim by itself."""
        self.loop.call_soon_threadsafe(self.dispatcher.wake.set)

    def hand_over(self, claimed: ClaimedMessages) -> None:
        """Pass claimed messages to the dispatcher's event loop."""
        with self.lock:
            self.on_their_way += len(claimed.rows)
        self.loop.call_soon_threadsafe(self.accept, claimed)

    def accept(self, claimed: ClaimedMessages) -> None:
        """Start delivering, on the event loop."""
        with self.lock:
            self.on_their_way -= len(claimed.rows)
        if self.dispatcher.has_left:
            return  # the messages have been given back
        self.dispatcher.start_deliveries(claimed)
        self.dispatcher.doubts.end(claimed.ids)
        if claimed.next_due_at is not None:
            self.dispatcher.wake.set()
