"""Claim messages that are due, have them delivered, have their outcomes settled.

A message waits in its table and its time has come. A dispatcher claims it, hands it to
delivery.py, has settling.py write down the outcome, and renews the claim until then. Any
number of dispatchers may share a database; if one dies, its claims expire and the others
take over.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from django.conf import settings

from broker import delivery, wakeup
from broker.claiming import ClaimedMessages, ClaimTerms, claim, claim_rest
from broker.clock import now_ms
from broker.delivery import Outcome
from broker.doubts import Doubts, settle_doubts
from broker.early_claims import BUSY, EarlyClaims
from broker.models import Message
from broker.own_site import OwnSite
from broker.pulses import leave, show_pulse
from broker.retention import keep_sweeping
from broker.settling import Settlement, log_attempt, settle_all
from broker.signals import attempt_settled
from groupcommit import outages
from groupcommit.writer import Write, writer
from logfields import log_fields

if TYPE_CHECKING:
    from broker.connections import Connections

logger = logging.getLogger(__name__)

type Step = Write[ClaimTerms, ClaimedMessages]
type Claimed = tuple[list[Message], int | None]
type Deliver = Callable[[Connections, Message, str], Awaitable[Outcome]]

CLAIM_AT_ONCE = 100
# How long a busy dispatcher lets its next claim wait for others to commit with; not while there
# are more messages than one claim gets.
PATIENCE_SECONDS = 0.03
# At most this long between two pulses, and at least three of them in a lease.
PULSE_MS = 2000
# What is in flight at a stop may take this long; Heroku and Render kill after 30 s.
GRACE_SECONDS = 25.0
PAUSE_AFTER_ERROR_SECONDS = 1.0
# After so many failures that are not the database's, a message becomes a dead letter.
SETTLING_TRIES = 3


class Dispatcher:
    """Deliver messages on one event loop, up to BROKER_CONCURRENCY at once."""

    def __init__(
        self,
        deliver: Deliver = delivery.deliver,
        clock: Callable[[], int] = now_ms,
        own_site: OwnSite | None = None,
    ) -> None:
        self.deliver, self.clock, self.own_site = deliver, clock, own_site
        self.name = f"{socket.gethostname()[:16]}-{os.getpid()}-{secrets.token_hex(4)}"
        self.limit: int = settings.BROKER_CONCURRENCY
        self.lease_ms: int = settings.BROKER_LEASE_SECONDS * 1000
        self.pulse_ms = min(PULSE_MS, self.lease_ms // 3)
        self.in_flight: dict[int, asyncio.Task[None]] = {}
        self.hosts: Counter[str] = Counter()  # how many of them go to each host
        self.doubts = Doubts()
        self.wake = asyncio.Event()
        self.watch = wakeup.Watch(self.wake.set, lambda: len(self.in_flight) >= self.limit)
        self.stopping, self.stopping_since, self.has_left = False, 0.0, False
        self.pulsed_at, self.has_backlog, self.looks_at_rest = 0, False, False
        self.loop_task: asyncio.Task[None] | None = None
        self.connections: Connections | None = None

    def start(self) -> None:
        """Run on the present event loop until `stop`."""
        self.loop_task = asyncio.create_task(self.run(), name="dispatcher")

    async def run(self) -> None:
        """Claim and deliver until told to stop, whatever goes wrong meanwhile."""
        early_claims = EarlyClaims(self, asyncio.get_running_loop())
        wakeup.listen(early_claims.on_store)
        background = [
            asyncio.create_task(self.keep_watching(), name="dispatcher: watch the database"),
            asyncio.create_task(keep_sweeping(self.clock), name="dispatcher: delete what is old"),
        ]
        logger.info("dispatcher started", extra={"dispatcher": self.name})
        try:
            while not self.stopping:
                try:
                    await self.turn()
                except Exception as error:
                    self.doubts.after_error, self.pulsed_at = True, 0
                    if not outages.reported(error):
                        logger.exception("dispatcher failed, trying again")
                    await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)
        finally:
            wakeup.unlisten(early_claims.on_store)
            for task in background:
                task.cancel()

    async def keep_watching(self) -> None:
        """Wake up at other processes' commits, and survive lost connections."""
        while True:
            try:
                await self.watch.run()
            except Exception as error:
                if not outages.reported(error):
                    logger.exception("dispatcher failed to watch the database, trying again")
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)

    async def turn(self) -> None:
        """Renew the pulse if it is time, claim what is due, sleep until there may be more."""
        self.wake.clear()
        now = self.clock()
        if not 0 <= now - self.pulsed_at < self.pulse_ms:  # also after the clock was put back
            await self.pulse(now)
        claimed, next_due_at = await self.claim()
        # Early while nothing is in flight: a pulse just before a message delays it by 3 ms.
        if not self.in_flight and now - self.pulsed_at > 0.75 * self.pulse_ms:
            await self.pulse(self.clock())
        elif len(claimed) < CLAIM_AT_ONCE:
            wait_ms = next_due_at - self.claims_until() if next_due_at else self.pulse_ms
            wait_ms = max(1, min(wait_ms, self.pulsed_at + self.pulse_ms - now))
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_ms / 1000):
                    await self.wake.wait()

    async def pulse(self, now: int) -> None:
        """Show that this dispatcher is alive, and renew its claims."""
        if self.doubts.exist():
            await writer.write(settle_doubts, self)
            self.doubts.after_error = False
        await writer.write(show_pulse, (self.name, now, len(self.in_flight), self.lease_ms))
        self.pulsed_at, self.looks_at_rest = now, True

    async def claim(self) -> Claimed:
        """Claim what is due and start delivering it; return it, and when to claim again.

        After each pulse the rest has its turn first, however many messages simply wait.
        """
        room = min(self.limit - len(self.in_flight), CLAIM_AT_ONCE)
        if room <= 0:
            return [], None
        messages: list[Message] = []
        now, next_due_at = self.claims_until(), None
        if self.looks_at_rest:
            messages, next_due_at = await self.claim_by(claim_rest, self.terms(room, now))
            self.looks_at_rest = next_due_at is not None and next_due_at <= now
        if len(messages) < room:
            terms = self.terms(room - len(messages), now)
            patience = 0 if self.has_backlog or len(self.in_flight) <= BUSY else PATIENCE_SECONDS
            # If a power cut undoes a claim, the message is delivered again, as if that ended it.
            more, next_due_at = await self.claim_by(claim, terms, patience, flush=False)
            messages += more
            self.has_backlog = len(messages) == CLAIM_AT_ONCE
        if len(messages) < room and (self.looks_at_rest or (next_due_at and next_due_at <= now)):
            terms = self.terms(room - len(messages), now)
            more, next_due_at = await self.claim_by(claim_rest, terms)
            messages += more
        return messages, next_due_at

    async def claim_by(
        self, step: Step, terms: ClaimTerms, patience: float = 0, flush: bool = True
    ) -> Claimed:
        """Claim in one of the two ways, and start delivering."""
        claimed = await writer.write(step, terms, patience, flush)
        return self.start_deliveries(claimed), claimed.next_due_at

    def terms(self, room: int, now: int | None = None) -> ClaimTerms:
        """What to claim now; a host that has half of the deliveries gets no more."""
        hosts = tuple(self.hosts.items())
        crowded = tuple(host for host, count in hosts if host and 2 * count >= self.limit)
        now = self.clock() if now is None else now
        return ClaimTerms(self.name, now, self.lease_ms, room, crowded)

    def claims_until(self) -> int:
        """Up to which due time to claim: only what is late while another dispatcher is on duty."""
        return self.clock() - (wakeup.LATE_MS if self.watch.is_relieved else 0)

    def start_deliveries(self, claimed: ClaimedMessages) -> list[Message]:
        """Start delivering what has been claimed."""
        messages = [Message.from_row(row) for row in claimed.rows]
        for message in messages:
            key = claimed.keys.get(message.account, "")
            delivering = self.deliver_and_settle(message, key)
            self.in_flight[message.id] = asyncio.create_task(delivering, name=message.message_id)
            self.hosts[message.host] += 1
        return messages

    async def deliver_and_settle(self, message: Message, key: str) -> None:
        """Make one attempt to deliver a claimed message, and write down its outcome."""
        log_fields.set({"message_id": message.message_id})
        try:
            began = time.monotonic()
            try:
                outcome = await self.attempt(message, key)
            except Exception as error:
                logger.exception("delivery failed")
                outcome = Outcome(0, {}, b"", f"{type(error).__name__}: {error}")
            seconds = time.monotonic() - began
            settlement = await self.settle(message, outcome)
            attempt_settled.send_robust(Dispatcher, settlement=settlement, seconds=seconds)
        finally:
            if self.in_flight.get(message.id) is asyncio.current_task():  # else it is claimed again
                del self.in_flight[message.id]
            self.hosts[message.host] -= 1
            if not self.hosts[message.host]:
                del self.hosts[message.host]
            self.wake.set()  # there is room again, or a next attempt to wait for

    async def attempt(self, message: Message, key: str) -> Outcome:
        """Make one attempt: without a socket if the message is for the site of this process."""
        if self.own_site and self.own_site.has(message):
            return await self.own_site.deliver(message, key)
        if not self.connections:
            from broker.connections import Connections  # here, as in delivery.py

            self.connections = Connections()
        return await self.deliver(self.connections, message, key)

    async def settle(self, message: Message, outcome: Outcome) -> Settlement:
        """Write down the outcome of an attempt, trying until the database accepts it; return that.

        If it is the response that cannot be stored, store its status alone. If something else
        goes wrong each time, give up: the message becomes a dead letter with that as its reason.
        If not even that can be stored, it is not the message's fault, so try it all again.
        """
        settlement, failures = Settlement(message, outcome, self.clock()), 0
        while True:
            try:
                if state := await writer.write(settle_all, settlement):
                    log_attempt(settlement, state)
                return settlement
            except Exception as error:
                if not (is_outage := outages.reported(error)):
                    failures += 1
                    logger.exception("settling failed, trying again")
                    outcome = outcome._replace(header={}, body=b"")
                if failures >= SETTLING_TRIES and not (is_outage or settlement.given_up):
                    reason = f"cannot be settled: {type(error).__name__}: {error}"[:1000]
                    given_up = outcome._replace(error=reason)
                    settlement = settlement._replace(outcome=given_up, given_up=True)
                    continue  # at once, so that nothing else can have changed meanwhile
                settlement = settlement._replace(outcome=outcome, given_up=False)
            await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)

    async def run_once(self) -> int:
        """Deliver what is due now, wait for it, and return how many messages. For tests."""
        count = 0
        for self.looks_at_rest in (False, True):
            more = True
            while more:
                claimed, next_due_at = await self.claim()
                more = bool(claimed or (next_due_at and next_due_at <= self.claims_until()))
                count += len(claimed)
                await asyncio.gather(*self.in_flight.values())
        await self.close()
        return count

    def stop_claiming(self) -> None:
        """Claim no more messages; those in flight go on."""
        if not self.stopping:
            self.stopping, self.stopping_since = True, time.monotonic()
        self.wake.set()

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Let what is in flight finish within the grace period, and give back the rest."""
        self.stop_claiming()
        if self.loop_task:
            await self.loop_task
        deadline = self.stopping_since + grace_seconds
        while self.in_flight and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(self.in_flight.values(), timeout=min(left, self.pulse_ms / 1000))
            with outages.survived():
                await self.pulse(self.clock())
        for task in (unfinished := list(self.in_flight.values())):
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        self.has_left = True
        given_back = 0
        with outages.survived():  # then others take over when the leases have ended
            given_back = await writer.write(leave, (self.name, self.clock()))
        await self.close()
        logger.info("dispatcher stopped", extra={"dispatcher": self.name, "given_back": given_back})

    async def close(self) -> None:
        """Close the connections to destinations."""
        if self.connections:
            await self.connections.aclose()
            self.connections = None
