"""Claim what is due, deliver it, settle it.

The message lies in its table and its time has come. A dispatcher claims it for as long as it
keeps renewing the claim, hands it to delivery.py, and writes down what became of it:
delivered, waiting for the next attempt, or failed. Any number of dispatchers may share a
database; should one die, its claims expire and others take over.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiohttp
from django.conf import settings
from django.db import Error

from broker import delivery, wakeup
from broker.delivery import Outcome
from broker.models import (
    DeadLetter,
    Event,
    Message,
    Pulse,
    Row,
    State,
    Verdict,
    now_ms,
    remove_stale_pulses,
    settle,
)
from broker.publishing import publish_failure_callback
from broker.retry import delay_ms
from groupcommit.statements import insert_all, one_by_one
from groupcommit.writer import writer

logger = logging.getLogger(__name__)

type Attempt = Callable[[aiohttp.ClientSession, Message, str], Awaitable[Outcome]]

CLAIM_AT_ONCE = 100
PULSE_SECONDS = 2.0
# What is in flight at a stop may take this long; Heroku and Render kill after 30 s.
GRACE_SECONDS = 25.0
PAUSE_AFTER_ERROR_SECONDS = 1.0


class Dispatcher:
    """Carries messages on one event loop, up to BROKER_CONCURRENCY at once."""

    def __init__(
        self, attempt: Attempt = delivery.attempt, clock: Callable[[], int] = now_ms
    ) -> None:
        self.attempt, self.clock = attempt, clock
        self.name = f"{socket.gethostname()[:16]}-{os.getpid()}-{secrets.token_hex(4)}"
        self.limit: int = settings.BROKER_CONCURRENCY
        self.lease_ms: int = settings.BROKER_LEASE_SECONDS * 1000
        self.in_flight: dict[int, asyncio.Task[None]] = {}
        self.wake = asyncio.Event()
        self.stopping = False
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

        wakeup.listen(wake_from_any_thread)
        watcher = asyncio.create_task(self.keep_watching(), name="dispatcher's watch")
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
            watcher.cancel()

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
        if now - self.pulsed_at >= PULSE_SECONDS * 1000:
            await self.pulse(now)
        claimed, next_due_at = await self.claim()
        if len(claimed) < CLAIM_AT_ONCE:
            seconds = (next_due_at - self.clock()) / 1000 if next_due_at else PULSE_SECONDS
            try:
                async with asyncio.timeout(min(max(seconds, 0.001), PULSE_SECONDS)):
                    await self.wake.wait()
            except TimeoutError:
                pass

    async def pulse(self, now: int) -> None:
        """Say that this dispatcher lives, and prolong its claims."""
        await writer.write(show_pulse, (self.name, now, len(self.in_flight), self.lease_ms))
        self.pulsed_at = now

    async def claim(self) -> tuple[list[Message], int | None]:
        """Claim what is due and begin delivering it; also when the next one will be due."""
        room = min(self.limit - len(self.in_flight), CLAIM_AT_ONCE)
        if room <= 0:
            return [], None
        rows, next_due_at = await writer.write(
            claim_due, (self.name, self.clock(), self.lease_ms, room)
        )
        claimed = [Message.from_row(row) for row in rows]
        for message in claimed:
            task = asyncio.create_task(self.carry(message), name=message.message_id)
            self.in_flight[message.id] = task
        return claimed, next_due_at

    async def carry(self, message: Message) -> None:
        """Deliver one claimed message and settle it."""
        try:
            self.session = self.session or delivery.open_session(self.limit)
            outcome = await self.attempt(self.session, message, settings.BROKER_SIGNING_KEY)
            await self.settle(message, outcome)
        finally:
            self.in_flight.pop(message.id, None)
            self.wake.set()  # there is room again, or a next attempt to wait for

    async def settle(self, message: Message, outcome: Outcome) -> None:
        """Write down what became of an attempt, as often as the database needs."""
        now = self.clock()
        while True:
            try:
                await writer.write(settle_all, Settlement(message, outcome, now))
                break
            except Error:
                logger.exception("cannot settle", extra={"message_id": message.message_id})
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)

    async def run_once(self) -> int:
        """Deliver what is due now and wait for it; how many that were. For tests."""
        count = 0
        while (await self.claim())[0]:
            count += len(self.in_flight)
            await asyncio.gather(*self.in_flight.values())
        await self.close()
        return count

    def stop_claiming(self) -> None:
        """Take no further message; those in flight go on."""
        self.stopping = True
        self.wake.set()

    async def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Let what is in flight finish, give back the rest, and say goodbye."""
        self.stop_claiming()
        if self.loop_task:
            await self.loop_task
        if self.in_flight:
            await asyncio.wait(self.in_flight.values(), timeout=grace_seconds)
        for task in (unfinished := list(self.in_flight.values())):
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        await writer.write(leave, (self.name, self.clock()))
        await self.close()
        logger.info(
            "dispatcher stopped", extra={"dispatcher": self.name, "given_back": len(unfinished)}
        )

    async def close(self) -> None:
        """Close the connections."""
        if self.session:
            await self.session.close()
            self.session = None


class Settlement(NamedTuple):
    """An attempt that has ended, to be written down."""

    message: Message
    outcome: Outcome
    now: int

    def verdict(self) -> Verdict:
        """Delivered, failed for good, or to be tried again."""
        message, outcome, now = self
        if outcome.accepted:
            return Verdict(message, State.DELIVERED, now)
        if outcome.hopeless or message.retried >= message.max_retries:
            return Verdict(message, State.FAILED, now)
        expression = message.retry_delay_expression
        delay = delay_ms(message.retried, expression, outcome.header, now)
        return Verdict(message, State.RETRY, now, delay)

    def event(self) -> Event:
        """What came back, as a line of the log."""
        return Event(
            message=self.message,
            state=State.DELIVERED if self.outcome.accepted else State.ERROR,
            time=self.now,
            error=self.outcome.error,
            response_status=self.outcome.status or None,
            response_header=self.outcome.header,
            response_body=self.outcome.body,
        )


@one_by_one
def show_pulse(pulse: tuple[str, int, int, int]) -> None:
    """Write a dispatcher's sign of life, and prolong its claims."""
    name, now, in_flight, lease_ms = pulse
    Pulse.objects.update_or_create(
        dispatcher=name, defaults={"seen_at": now, "in_flight": in_flight}
    )
    remove_stale_pulses(now)
    if in_flight:
        Message.objects.renew(name, now, lease_ms)


@one_by_one
def claim_due(wanted: tuple[str, int, int, int]) -> tuple[list[Row], int | None]:
    """Claim for a dispatcher; the rows, and when the next message will be due."""
    name, now, lease_ms, limit = wanted
    rows = Message.objects.claim(name, now, lease_ms, limit)
    return rows, Message.objects.next_due_at(name, now)


@one_by_one
def leave(who: tuple[str, int]) -> None:
    """Give back what a dispatcher still holds, and forget it."""
    name, now = who
    if Message.objects.give_back(name, now):
        wakeup.on_commit()
    remove_stale_pulses(now, [name])


def settle_all(settlements: list[Settlement]) -> list[bool]:
    """Write down what became of attempts; False where the claim had been lost."""
    verdicts = [settlement.verdict() for settlement in settlements]
    moved = settle(verdicts)
    events: list[Event] = []
    for settlement, verdict, won in zip(settlements, verdicts, moved, strict=True):
        if won:
            events.append(settlement.event())
            events += events_after(verdict, settlement.outcome)
    insert_all(events)
    for settlement, verdict, won in zip(settlements, verdicts, moved, strict=True):
        if won and verdict.state == State.FAILED:
            bury(settlement)
    return moved


def events_after(verdict: Verdict, outcome: Outcome) -> list[Event]:
    """The log's second line about an attempt that failed: another one follows, or none."""
    message, state, now, delay = verdict
    log = {"message_id": message.message_id, "attempt": message.retried + 1}
    if state == State.DELIVERED:
        logger.info("delivered", extra=log | {"status": outcome.status})
        return []
    if state == State.FAILED:
        logger.warning("failed for good", extra=log | {"error": outcome.error})
        return [Event(message=message, state=state, time=now, error=outcome.error)]
    logger.warning("will be tried again", extra=log | {"error": outcome.error, "in_ms": delay})
    return [Event(message=message, state=state, time=now, next_delivery_time=now + delay)]


def bury(settlement: Settlement) -> None:
    """Keep a failed message as a dead letter, and tell its failure callback."""
    message, outcome, now = settlement
    letter = DeadLetter.objects.create(
        message=message,
        failed_at=now,
        response_status=outcome.status,
        response_header=outcome.header,
        response_body=outcome.body,
    )
    publish_failure_callback(message, letter)
