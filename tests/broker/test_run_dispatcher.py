"""`manage.py run_dispatcher`: its signals."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from django.core.management import load_command_class

from broker.dispatcher import Dispatcher
from broker.management.commands.run_dispatcher import run_until_signalled
from broker.models import Message, Pulse
from broker.publishing import store
from groupcommit.writer import writer
from tests.broker.messages import Destination, new_message

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
async def destination() -> Destination:
    return Destination().hold()


@pytest.fixture
async def running(destination) -> AsyncIterator[asyncio.Task[None]]:
    """The command, with a message in flight."""
    await writer.write(store, new_message())
    task = asyncio.create_task(run_until_signalled(Dispatcher(destination)))
    await destination.get()
    yield task
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)


async def end_of(task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(5):
        await task


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_first_signal_lets_what_is_in_flight_finish(running, destination, number):
    os.kill(os.getpid(), number)
    destination.may_answer.set()
    await end_of(running)
    message = await Message.objects.aget()
    assert message.state == "DELIVERED"


async def test_second_signal_gives_it_back_at_once(running):
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    await end_of(running)
    message = await Message.objects.aget()
    assert (message.state, message.claimed_by) == ("RETRY", "")


async def test_ended_command_leaves_no_pulse(running, destination):
    destination.may_answer.set()
    os.kill(os.getpid(), signal.SIGTERM)
    await end_of(running)
    assert not await Pulse.objects.aexists()


def test_help_tells_what_the_signals_do():
    assert "up to 25 s" in load_command_class("broker", "run_dispatcher").help
