"""Claim what is due, have it delivered, have it settled.

The message lies in its table and its time has come. A dispatcher claims it for as long as it
keeps renewing the claim, hands it to delivery.py, and has settling.py write down what became
of it. Any number of dispatchers may share a database; should one die, its claims expire and
others take over.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable

import aiohttp
from django.conf import settings
from django.db import OperationalError

from broker import delivery, wakeup
from broker.claiming import Claim, Wanted, claim, claim_from_lanes, give_back, renew
from broker.clock import now_ms
from broker.delivery import Outcome
from broker.models import Message, Pulse, remove_stale_pulses
from broker.retention import sweep, sweep_lanes
from broker.settling import Settlement, settle_all
from groupcommit.statements import one_by_one
from groupcommit.writer import writer

logger = logging.getLogger(__name__)

type Attempt = Callable[[aiohttp.ClientSession, Message, str], Awaitable[Outcome]]

CLAIM_AT_ONCE = 100
# A dispatcher with this much in flight lets its next claim wait for others to commit with.
BUSY = 20
PATIENCE_SECONDS = 0.03
# At most this long between two signs of life, and three to a lease.
PULSE_MS = 2000
# What is in flight at a stop may take this long; Heroku and Render kill after 30 s.
GRACE_SECONDS = 25.0
PAUSE_AFTER_ERROR_SECONDS = 1.0
# How often to look for what can be forgotten, and how soon again while there is more.
SWEEP_SECONDS = 60.0
SWEEP_AGAIN_SECONDS = 0.1


LATER = 2**63


class Dispatcher:
    """Carries messages on one event loop, up to BROKER_CONCURRENCY at once."""

    def __init__(
        self, attempt: Attempt = delivery.attempt, clock: Callable[[], int] = now_ms
    ) -> None:
        self.attempt, self.clock = attempt, clock
        self.name = f"{socket.gethostname()[:16]}-{os.getpid()}-{secrets.token_hex(4)}"
        self.limit: int = settings.BROKER_CONCURRENCY
        self.lease_ms: int = settings.BROKER_LEASE_SECONDS * 1000
        self.pulse_ms = min(PULSE_MS, self.lease_ms // 3)
        self.in_flight: dict[int, asyncio.Task[None]] = {}
        self.hosts: Counter[str] = Counter()  # how many of them each host holds
        self.coming: deque[int] = deque()  # how many have been claimed where they were stored
        self.wake = asyncio.Event()
        self.stopping, self.stopping_since, self.has_left = False, 0.0, False
        self.pulsed_at = 0
        self.loop_task: asyncio.Task[None] | None = None
        self.session: aiohttp.ClientSession | None = None

    def start(self) -> None:
        """Run on the present event loop until `stop`."""
        self.loop_task = asyncio.create_task(self.run(), name="dispatcher")

    async def run(self) -> None:
        """Claim and deliver until told to stop; outlive whatever goes wrong meanwhile."""
        loop = asyncio.get_running_loop()

        def wake_from_any_thread() -> None:
            loop.call_soon_threadsafe(self.wake.set)

        def take() -> Callable[[], None] | None:
            """Claim, for an idle dispatcher, what is just being stored."""
            carried = len(self.in_flight) + sum(self.coming)
            room = min(self.limit - carried, BUSY)
            if self.stopping or carried > BUSY or room <= 0:
                return None
            [found] = claim([self.wanted(room)])

            def hand_over() -> None:
                self.coming.append(len(found.rows))
                loop.call_soon_threadsafe(self.accept, found)

            return hand_over if found.rows else None

        wakeup.listen(wake_from_any_thread, take)
        beside = [
            asyncio.create_task(self.keep_watching(), name="dispatcher's watch"),
            asyncio.create_task(self.keep_tidy(), name="dispatcher's broom"),
        ]
        logger.info("dispatcher started", extra={"dispatcher": self.name})
        try:
            while not self.stopping:
                try:
                    await self.turn()
                except Exception:
                    logger.exception("the dispatcher stumbled and goes on")
                    await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)
        finally:
            wakeup.unlisten(wake_from_any_thread)
            for task in beside:
                task.cancel()

    async def keep_watching(self) -> None:
        """Let other processes' commits wake us, through lost connections."""
        while True:
            try:
                await wakeup.watch(self.wake.set)
            except Exception:
                logger.exception("cannot watch the database for changes, trying again")
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)

    async def turn(self) -> None:
        """One round: show a pulse, claim what is due, sleep until there may be more."""
        self.wake.clear()
        now = self.clock()
        if now - self.pulsed_at >= self.pulse_ms:
            await self.pulse(now)
        claimed, next_due_at = await self.claim()
        if len(claimed) < CLAIM_AT_ONCE:
            wait_ms = next_due_at - self.clock() if next_due_at else self.pulse_ms
            try:
                async with asyncio.timeout(min(max(wait_ms, 1), self.pulse_ms) / 1000):
                    await self.wake.wait()
            except TimeoutError:
                pass

    async def pulse(self, now: int) -> None:
        """Say that this dispatcher lives, and prolong its claims."""
        await writer.write(show_pulse, (self.name, now, len(self.in_flight), self.lease_ms))
        self.pulsed_at = now

    async def claim(self) -> tuple[list[Message], int | None]:
        """Claim what is due and begin delivering it; also when to claim again."""
        room = min(self.limit - len(self.in_flight), CLAIM_AT_ONCE)
        if room <= 0:
            return [], None
        patience = PATIENCE_SECONDS if len(self.in_flight) > BUSY else 0
        wanted = self.wanted(room)
        found = await writer.write(claim, wanted, patience)
        messages = self.begin(found)
        if (
            found.next_due_at is not None
            and found.next_due_at <= wanted.now
            and len(messages) < room
        ):
            wanted = wanted._replace(limit=room - len(messages))
            found = await writer.write(claim_from_lanes, wanted)
            messages += self.begin(found)
        return messages, found.next_due_at

    def wanted(self, room: int) -> Wanted:
        """What to claim now; a host that holds half of all gets no more."""
        hosts = tuple(self.hosts.items())
        crowded = tuple(host for host, held in hosts if host and 2 * held >= self.limit)
        return Wanted(self.name, self.clock(), self.lease_ms, room, crowded)

    def accept(self, claimed: Claim) -> None:
        """Begin what was claimed by whoever has stored it."""
        self.coming.popleft()
        if self.has_left:
            return  # they have been given back
        self.begin(claimed)
        if claimed.next_due_at is not None:
            self.wake.set()

    def begin(self, claimed: Claim) -> list[Message]:
        """Begin delivering what has been claimed."""
        messages = [Message.from_row(row) for row in claimed.rows]
        for message in messages:
            key = claimed.keys.get(message.account, "")
            task = asyncio.create_task(self.carry(message, key), name=message.message_id)
            self.in_flight[message.id] = task
            self.hosts[message.host] += 1
        return messages

    async def carry(self, message: Message, key: str) -> None:
        """Deliver one claimed message and settle it."""
        try:
            self.session = self.session or delivery.open_session(self.limit)
            try:
                outcome = await self.attempt(self.session, message, key)
            except Exception as error:
                logger.exception("stumbled", extra={"message_id": message.message_id})
                outcome = Outcome(0, {}, b"", f"{type(error).__name__}: {error}")
            await self.settle(message, outcome)
        finally:
            self.in_flight.pop(message.id, None)
            self.hosts[message.host] -= 1
            if not self.hosts[message.host]:
                del self.hosts[message.host]
            self.wake.set()  # there is room again, or a next attempt to wait for

    async def settle(self, message: Message, outcome: Outcome) -> None:
        """Write down what became of an attempt, as often as the database needs.

        Should it be the answer that cannot be written down, its status alone has to do.
        """
        now = self.clock()
        while True:
            try:
                await writer.write(settle_all, Settlement(message, outcome, now))
                break
            except Exception as error:
                logger.exception("cannot settle", extra={"message_id": message.message_id})
                if not isinstance(error, OperationalError):
                    outcome = outcome._replace(header={}, body=b"")
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)

    async def keep_tidy(self) -> None:
        """Forget what is old, a little at a time."""
        while True:
            try:
                more = await writer.write(sweep, self.clock(), PATIENCE_SECONDS)
                if not more:
                    await writer.write(sweep_lanes, self.clock(), PATIENCE_SECONDS)
            except Exception:
                logger.exception("cannot forget what is old, trying again")
                more = False
            await asyncio.sleep(SWEEP_AGAIN_SECONDS if more else SWEEP_SECONDS)

    async def run_once(self) -> int:
        """Deliver what is due now and wait for it; how many that were. For tests."""
        count, more = 0, True
        while more:
            claimed, next_due_at = await self.claim()
            more = bool(claimed) or (next_due_at or LATER) <= self.clock()
            count += len(claimed)
            await asyncio.gather(*self.in_flight.values())
        await self.close()
        return count

    def stop_claiming(self) -> None:
        """Take no further message; those in flight go on."""
        if not self.stopping:
            self.stopping, self.stopping_since = True, time.monotonic()
        self.wake.set()

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Let what is in flight finish, give back the rest, and say goodbye."""
        self.stop_claiming()
        if self.loop_task:
            await self.loop_task
        deadline = self.stopping_since + grace_seconds
        while self.in_flight and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(self.in_flight.values(), timeout=min(left, self.pulse_ms / 1000))
            await self.pulse(self.clock())
        for task in (unfinished := list(self.in_flight.values())):
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        self.has_left = True
        given_back = await writer.write(leave, (self.name, self.clock()))
        await self.close()
        logger.info("dispatcher stopped", extra={"dispatcher": self.name, "given_back": given_back})

    async def close(self) -> None:
        """Close the connections."""
        if self.session:
            await self.session.close()
            self.session = None


@one_by_one
def show_pulse(pulse: tuple[str, int, int, int]) -> None:
    """Write a dispatcher's sign of life, and prolong its claims."""
    name, now, in_flight, lease_ms = pulse
    Pulse.objects.update_or_create(
        dispatcher=name, defaults={"seen_at": now, "in_flight": in_flight}
    )
    remove_stale_pulses(now)
    if in_flight:
        renew(name, now, lease_ms)


@one_by_one
def leave(who: tuple[str, int]) -> int:
    """Give back what a dispatcher still holds, how many that are, and forget it."""
    name, now = who
    given_back = give_back(name, now)
    if given_back:
        wakeup.on_commit()
    remove_stale_pulses(now, [name])
    return given_back
