"""An attempt has ended: the message moves on from ACTIVE, once, and its log says why."""

import pytest

from broker import wakeup
from broker.clock import DAY_MS
from broker.delivery import Outcome
from broker.models import DeadLetter, Event, Message, State
from broker.settling import Settlement, settle_all
from tests.broker.messages import ERROR, LEASE_MS, NOW, OK, new_message, states, take

LATER = Outcome(503, {"Retry-After": ["7"]}, b"", "HTTP 503")

pytestmark = pytest.mark.django_db


def claimed(dispatcher: str = "one", now: int = NOW, **fields: object) -> Message:
    """A message that a dispatcher has just claimed."""
    new_message(**fields).save()
    [message] = take(dispatcher, now)
    return message


def settle(message: Message, outcome: Outcome, now: int = NOW) -> bool:
    [moved] = settle_all([Settlement(message, outcome, now)])
    message.refresh_from_db()
    return moved


def test_accepted_message_is_over():
    message = claimed()
    assert settle(message, OK)
    assert (message.state, message.due_at, message.claimed_by) == (State.DELIVERED, None, "")
    assert states(message) == ["ACTIVE", "DELIVERED"]


def test_message_with_attempts_left_is_due_again_when_the_destination_says():
    message = claimed(retried=1)
    settle(message, LATER)
    assert (message.state, message.due_at, message.retried) == (State.RETRY, NOW + 7000, 2)
    assert states(message) == ["ACTIVE", "ERROR", "RETRY"]
    assert Event.objects.get(state="RETRY").next_delivery_time == NOW + 7000


def test_message_without_attempts_left_becomes_a_dead_letter():
    message = claimed(max_retries=1, retried=1)
    settle(message, ERROR)
    letter = DeadLetter.objects.get(message=message)
    assert (message.state, message.due_at) == (State.FAILED, None)
    assert (letter.response_status, bytes(letter.response_body)) == (500, b"oops")
    assert states(message) == ["ACTIVE", "ERROR", "FAILED"]


def test_lost_claim_settles_nothing():
    message = claimed("one")
    take("two", NOW + LEASE_MS)
    assert not settle(message, ERROR, NOW + LEASE_MS)
    assert (message.state, message.claimed_by) == (State.ACTIVE, "two")


def test_settled_message_is_not_settled_again():
    message = claimed()
    stale = Message.objects.get()
    settle(message, OK)
    assert not settle(stale, ERROR)
    assert states(message) == ["ACTIVE", "DELIVERED"]


def test_settlements_are_answered_in_their_order():
    first, second, third = (claimed() for _ in range(3))
    stale = Message.objects.get(pk=second.pk)
    settle(second, OK)
    settlements = [Settlement(message, OK, NOW) for message in (third, stale, first)]
    assert settle_all(settlements) == [State.DELIVERED, None, State.DELIVERED]


@pytest.mark.parametrize(("outcome", "state"), [(OK, "DELIVERED"), (ERROR, "CANCELED")])
def test_canceled_while_active_is_delivered_or_canceled(outcome, state):
    message = claimed()
    Message.objects.update(state=State.CANCEL_REQUESTED)
    assert settle(message, outcome)
    assert (message.state, message.due_at) == (state, None)
    assert not DeadLetter.objects.exists()


def test_canceled_message_has_no_failure_callback():
    message = claimed(max_retries=0, failure_callback="http://callback.test/")
    Message.objects.update(state=State.CANCEL_REQUESTED)
    settle(message, ERROR)
    assert Message.objects.count() == 1


def test_finished_message_is_kept_as_long_as_its_log(settings):
    settings.BROKER_LOG_DAYS = 2
    message = claimed()
    settle(message, OK)
    assert message.expires_at == NOW + 2 * DAY_MS


def test_dead_letter_keeps_its_message_longer(settings):
    settings.BROKER_DEAD_LETTER_DAYS = 9
    message = claimed(max_retries=0)
    settle(message, ERROR)
    assert message.expires_at == NOW + 9 * DAY_MS


@pytest.mark.parametrize(("queue", "rings"), [("q", 1), (None, 0)])
def test_end_in_a_queue_wakes_the_dispatcher_on_duty(queue, rings, monkeypatch):
    """The one that has delivered the message may not be."""
    message, rung = claimed(queue_name=queue), []
    monkeypatch.setattr(wakeup, "on_commit", lambda: rung.append("rung"))
    assert settle(message, OK)
    assert len(rung) == rings
