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

import aiohttp
from django.conf import settings
from django.db import Error

from broker import delivery, wakeup
from broker.delivery import Outcome
from broker.models import (
    Event,
    Message,
    Pulse,
    now_ms,
    remove_stale_pulses,
)
from broker.publishing import publish_failure_callback
from broker.retry import delay_ms
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
        in_flight = len(self.in_flight)

        def write() -> None:
            Pulse.objects.update_or_create(
                dispatcher=self.name, defaults={"seen_at": now, "in_flight": in_flight}
            )
            remove_stale_pulses(now)
            if in_flight:
                Message.objects.renew(self.name, now, self.lease_ms)

        await writer.write(write)
        self.pulsed_at = now

    async def claim(self) -> tuple[list[Message], int | None]:
        """Claim what is due and begin delivering it; also when the next one will be due."""
        room = min(self.limit - len(self.in_flight), CLAIM_AT_ONCE)
        if room <= 0:
            return [], None
        now = self.clock()

        def write() -> tuple[list[Message], int | None]:
            claimed = Message.objects.claim(self.name, now, self.lease_ms, room)
            later = Message.objects.filter(due_at__gt=now).exclude(claimed_by=self.name)
            next_due = later.order_by("due_at").values_list("due_at", flat=True).first()
            return claimed, next_due

        claimed, next_due_at = await writer.write(write)
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
                await writer.write(lambda: settle(message, outcome, now))
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
        await writer.write(self.leave)
        await self.close()
        logger.info(
            "dispatcher stopped", extra={"dispatcher": self.name, "given_back": len(unfinished)}
        )

    def leave(self) -> None:
        if Message.objects.give_back(self.name, self.clock()):
            wakeup.on_commit()
        remove_stale_pulses(self.clock(), [self.name])

    async def close(self) -> None:
        """Close the connections."""
        if self.session:
            await self.session.close()
            self.session = None


def settle(message: Message, outcome: Outcome, now: int) -> None:
    """Move a message on from ACTIVE: delivered, to be tried again, or failed."""
    event = Event(
        state="DELIVERED" if outcome.accepted else "ERROR",
        error=outcome.error,
        response_status=outcome.status or None,
        response_header=outcome.header,
        response_body=outcome.body,
    )
    log = {"message_id": message.message_id, "attempt": message.retried + 1}
    if outcome.accepted:
        if message.deliver(now, event):
            logger.info("delivered", extra=log | {"status": outcome.status})
    elif outcome.hopeless or message.retried >= message.max_retries:
        if letter := message.fail(now, event):
            publish_failure_callback(message, letter)
            logger.warning("failed for good", extra=log | {"error": outcome.error})
    else:
        delay = delay_ms(
            message.retried, message.retry_delay_expression, outcome.header, now
        )
        if message.retry(now, event, delay):
            extra = log | {"error": outcome.error, "next_in_ms": delay}
            logger.warning("will be tried again", extra=extra)
