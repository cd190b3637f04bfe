"""The clock jumps by an hour while messages are on their way: it is passed in, as everywhere.

A machine's clock may be set, or a virtual machine be paused. Nothing is lost or delivered twice.
"""

import asyncio

import pytest
from asgiref.sync import sync_to_async

from broker.dispatcher import Dispatcher
from broker.models import Message, Pulse, State
from tests.broker.messages import NOW, Destination, new_message, states

pytestmark = pytest.mark.django_db(transaction=True)
HOUR_MS = 3_600_000


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Running:
    """A dispatcher whose destination does not answer yet, turned by hand."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.destination = clock, Destination().hold()
        self.dispatcher = Dispatcher(self.destination, clock)

    async def turn(self) -> None:
        """One turn without the sleep at its end."""
        turning = asyncio.create_task(self.dispatcher.turn())
        async with asyncio.timeout(20):
            while not turning.done():
                self.dispatcher.wake.set()
                await asyncio.sleep(0.01)
        await turning

    async def work_on(self, message: Message) -> None:
        """Begin an attempt, and let it take longer than a lease."""
        await message.asave()
        await self.turn()
        await self.destination.get()
        for _ in range(4):
            self.clock.now += self.dispatcher.lease_ms // 2
            await self.turn()

    async def end(self) -> None:
        self.destination.may_answer.set()
        await asyncio.gather(*self.dispatcher.in_flight.values())
        await self.dispatcher.close()


@pytest.mark.parametrize("jump", [HOUR_MS, -HOUR_MS], ids=["forward", "back"])
async def test_attempt_after_a_jump_stays_the_only_one(jump):
    clock = Clock()
    running = Running(clock)
    await running.turn()  # has shown a sign of life by the old clock
    clock.now += jump
    message = new_message(due_at=clock.now)
    await running.work_on(message)
    assert (await Dispatcher(Destination(), clock).claim())[0] == []
    await running.end()
    assert await sync_to_async(states)(message) == ["ACTIVE", "DELIVERED"]


@pytest.mark.parametrize("jump", [HOUR_MS, -HOUR_MS], ids=["forward", "back"])
async def test_attempt_during_a_jump_is_settled(jump):
    clock = Clock()
    running = Running(clock)
    message = new_message()
    await running.work_on(message)
    clock.now += jump
    await running.turn()  # renews the claim before anybody looks for what is due
    assert (await Dispatcher(Destination(), clock).claim())[0] == []
    await running.end()
    await message.arefresh_from_db()
    assert (message.state, len(running.destination.messages)) == (State.DELIVERED, 1)


async def test_sign_of_life_follows_a_clock_that_is_put_back():
    clock = Clock()
    running = Running(clock)
    await running.turn()
    clock.now -= HOUR_MS
    await running.turn()
    assert (await Pulse.objects.aget()).seen_at == clock.now
    await running.end()
