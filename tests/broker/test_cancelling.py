"""Cancelling: at once while a message waits, at the end of its attempt otherwise."""

import pytest

from broker.cancelling import cancel
from broker.claiming import ClaimTerms, claim
from broker.models import FINAL_STATES, Message, Queue, State
from broker.publishing import publish
from tests.broker.messages import NOW, new_message, states

pytestmark = pytest.mark.django_db


def published(**fields: object) -> Message:
    message = new_message(**fields)
    publish(message)
    return message


@pytest.mark.parametrize("state", [State.CREATED, State.RETRY])
def test_waiting_message_is_canceled_at_once(state):
    message = published(state=state)
    assert cancel([message.pk], NOW) == 1
    message.refresh_from_db()
    assert (message.state, message.due_at) == (State.CANCELED, None)
    assert states(message) == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]


def test_message_being_delivered_gets_to_know():
    message = published()
    claim([ClaimTerms("one", NOW, 1000, 1)])
    assert cancel([message.pk], NOW) == 1
    message.refresh_from_db()
    assert (message.state, message.claimed_by) == (State.CANCEL_REQUESTED, "one")
    assert states(message) == ["CREATED", "ACTIVE", "CANCEL_REQUESTED"]


@pytest.mark.parametrize("state", [*FINAL_STATES, State.CANCEL_REQUESTED])
def test_what_is_over_cannot_be_canceled(state):
    message = published(state=state)
    assert cancel([message.pk], NOW) == 0
    assert states(message) == ["CREATED"]


def test_canceled_message_makes_way_in_its_queue():
    first = published(queue_name="q")
    published(queue_name="q")
    Queue.objects.update(due_at=None)
    cancel([first.pk], NOW)
    first.refresh_from_db()
    assert (first.lane, first.slot) == (None, None)
    assert Queue.objects.get().due_at == NOW
