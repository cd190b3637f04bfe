"""Messages that are claimed where they are stored, for a dispatcher that is idle."""

import asyncio

import pytest

from broker.claiming import claim
from broker.dispatcher import Dispatcher
from broker.early_claims import BUSY, EarlyClaims
from broker.models import Message
from broker.publishing import store
from groupcommit.writer import writer
from tests.broker.messages import NOW, Destination, new_message

pytestmark = pytest.mark.django_db(transaction=True)


async def published() -> Message:
    message = new_message()
    await writer.write(store, message)
    return message


async def test_what_was_claimed_too_late_is_not_delivered():
    dispatcher = Dispatcher(destination := Destination(), lambda: NOW)
    message = await published()
    claimed = await writer.write(claim, dispatcher.terms(1))
    early_claims = EarlyClaims(dispatcher, asyncio.get_running_loop())
    await dispatcher.stop()
    early_claims.accept(claimed)
    assert (dispatcher.in_flight, destination.messages) == ({}, [])
    await message.arefresh_from_db()
    assert message.state == "RETRY"


async def test_dispatcher_with_enough_to_do_claims_by_itself():
    dispatcher = Dispatcher(Destination(), lambda: NOW)
    early_claims = EarlyClaims(dispatcher, asyncio.get_running_loop())
    early_claims.on_their_way = BUSY + 1
    await published()
    assert early_claims.on_store() == early_claims.wake
    assert (await Message.objects.aget()).state == "CREATED"


async def test_stopping_dispatcher_claims_nothing():
    dispatcher = Dispatcher(Destination(), lambda: NOW)
    dispatcher.stopping = True
    early_claims = EarlyClaims(dispatcher, asyncio.get_running_loop())
    assert early_claims.on_store() == early_claims.wake
