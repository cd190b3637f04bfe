"""Claims of which the dispatcher was never told: they are given back, and nothing else is."""

import asyncio

import pytest
from django.db import OperationalError

from broker import dispatcher as dispatchers
from broker.claiming import claim
from broker.dispatcher import Dispatcher
from broker.doubts import ON_THE_WAY_SECONDS, UNKNOWN, Doubts
from broker.early_claims import EarlyClaims
from broker.models import Event, Message
from broker.publishing import store
from groupcommit.writer import writer
from tests.broker.messages import NOW, OK, Destination, new_message

pytestmark = pytest.mark.django_db(transaction=True)


async def published() -> Message:
    message = new_message()
    await writer.write(store, message)
    return message


async def test_claim_whose_answer_was_lost_is_given_back_and_delivered():
    dispatcher = Dispatcher(Destination(OK), lambda: NOW)
    message = await published()
    await writer.write(claim, dispatcher.terms(1))  # and nobody learns of it
    assert await dispatcher.run_once() == 0
    dispatcher.doubts.after_error = True
    await dispatcher.pulse(NOW)
    assert await dispatcher.run_once() == 1
    await message.arefresh_from_db()
    assert (message.state, message.retried) == ("DELIVERED", 0)
    assert (await Event.objects.aget(state="ERROR")).error == UNKNOWN
    assert not dispatcher.doubts.exist()


async def test_what_is_in_flight_is_kept():
    slow = Destination(OK).hold()
    dispatcher = Dispatcher(slow, lambda: NOW)
    message = await published()
    await dispatcher.claim()
    await slow.get()
    dispatcher.doubts.after_error = True
    await dispatcher.pulse(NOW)
    await message.arefresh_from_db()
    assert (message.state, message.claimed_by) == ("ACTIVE", dispatcher.name)
    slow.may_answer.set()
    await asyncio.gather(*dispatcher.in_flight.values())
    await dispatcher.close()


async def test_claim_that_is_on_its_way_is_kept_until_it_must_have_come():
    dispatcher = Dispatcher(Destination(OK), lambda: NOW)
    message = await published()
    claimed = await writer.write(claim, dispatcher.terms(1))
    dispatcher.doubts.begin(claimed.ids)
    assert not dispatcher.doubts.exist()
    dispatcher.doubts.after_error = True
    await dispatcher.pulse(NOW)
    await message.arefresh_from_db()
    assert message.state == "ACTIVE"
    dispatcher.doubts.on_their_way[message.id] -= ON_THE_WAY_SECONDS
    assert dispatcher.doubts.exist()
    await dispatcher.pulse(NOW)
    await message.arefresh_from_db()
    assert (message.state, message.claimed_by) == ("RETRY", "")
    assert not dispatcher.doubts.exist()


async def test_early_claim_is_in_doubt_until_it_has_come():
    dispatcher = Dispatcher(Destination(OK), lambda: NOW)
    early_claims = EarlyClaims(dispatcher, asyncio.get_running_loop())
    message = await published()
    hand_over = await writer.write(lambda each: [early_claims.on_store() for _ in each], None)
    assert list(dispatcher.doubts.on_their_way) == [message.id]
    hand_over()
    await asyncio.sleep(0)  # the event loop accepts it in its next round
    await asyncio.gather(*dispatcher.in_flight.values())
    await dispatcher.close()
    assert dispatcher.doubts.on_their_way == {}


def test_messages_that_never_came_are_forgotten():
    doubts = Doubts()
    doubts.begin([1, 2])
    doubts.end([2])
    doubts.on_their_way[1] -= ON_THE_WAY_SECONDS
    doubts.begin([3])
    assert doubts.exist()
    assert doubts.recent() == {3}
    assert not doubts.exist()


async def test_running_dispatcher_doubts_after_an_error_and_logs_one_line(monkeypatch, caplog):
    failing = [OperationalError("connection refused")]

    class Failing(Dispatcher):
        async def claim(self):
            if failing:
                raise failing.pop()
            return await super().claim()

    monkeypatch.setattr(dispatchers, "PAUSE_AFTER_ERROR_SECONDS", 0)
    dispatcher = Failing(Destination(OK))
    message = await published()
    orphan = Dispatcher(Destination(OK))
    orphan.name = dispatcher.name
    await writer.write(claim, orphan.terms(1))
    dispatcher.start()
    async with asyncio.timeout(30):
        while message.state != "DELIVERED":
            await asyncio.sleep(0.02)
            await message.arefresh_from_db()
    await dispatcher.stop()
    assert caplog.text.count("database is not answering") == 1
    assert "Traceback" not in caplog.text
