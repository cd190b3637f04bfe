"""What dispatchers write of themselves."""

import pytest

from broker.models import Message, Pulse
from broker.pulses import leave, show_pulse
from tests.broker.messages import LEASE_MS, NOW, new_message, states, take

pytestmark = pytest.mark.django_db


def claimed(dispatcher: str) -> Message:
    message = new_message()
    message.save()
    assert take(dispatcher) == [message]
    return message


def test_pulse_renews_the_claims_of_its_dispatcher():
    mine = claimed("one")
    other = claimed("two")
    show_pulse([("one", NOW + 4000, 1, LEASE_MS)])
    mine.refresh_from_db()
    other.refresh_from_db()
    assert (mine.due_at, other.due_at) == (NOW + 4000 + LEASE_MS, NOW + LEASE_MS)
    pulse = Pulse.objects.get()
    assert (pulse.dispatcher, pulse.seen_at, pulse.in_flight) == ("one", NOW + 4000, 1)


def test_dispatcher_that_leaves_gives_back_what_it_holds():
    message = claimed("one")
    show_pulse([("one", NOW, 1, LEASE_MS)])
    assert leave([("one", NOW + 1)]) == [1]
    message.refresh_from_db()
    assert (message.state, message.due_at, message.claimed_by) == ("RETRY", NOW + 1, "")
    assert states(message)[-2:] == ["ACTIVE", "ERROR"]
    assert not Pulse.objects.exists()
