"""Forgetting: what is too old is deleted, a bounded number at a time."""

import asyncio

import pytest

from broker import retention
from broker.clock import DAY_MS
from broker.models import DeadLetter, Event, FlowControl, Message, Queue, State
from broker.publishing import publish
from tests.broker.messages import NOW, new_message

pytestmark = pytest.mark.django_db


def sweep(now: int) -> bool:
    [more] = retention.sweep([now])
    retention.sweep_lanes([now])
    return more


SWEPT: list[int] = []


def other_sweep(now: int) -> bool:
    """Another app's: there is more twice, then no more."""
    SWEPT.append(now)
    return len(SWEPT) < 3


def broken_sweep(now: int) -> bool:
    raise ValueError("on fire")


def over(**fields: object) -> Message:
    message = new_message(state=State.DELIVERED, due_at=None, expires_at=NOW, **fields)
    message.save()
    Event.objects.create(message=message, state=State.DELIVERED, time=NOW)
    return message


def test_finished_message_goes_with_its_log():
    over()
    sweep(NOW)
    assert not Message.objects.exists()
    assert not Event.objects.exists()


def test_message_is_kept_until_its_time():
    over()
    sweep(NOW - 1)
    assert Message.objects.count() == Event.objects.count() == 1


def test_unfinished_message_is_kept_for_ever():
    publish(new_message())
    sweep(NOW + 1000 * DAY_MS)
    assert Message.objects.exists()


def test_dead_letter_goes_after_its_days(settings):
    settings.BROKER_DEAD_LETTER_DAYS = 2
    letter = DeadLetter.objects.create(message=over(), failed_at=NOW, response_status=0)
    Message.objects.update(expires_at=NOW + 3 * DAY_MS)
    sweep(NOW + 2 * DAY_MS)
    assert DeadLetter.objects.get() == letter
    sweep(NOW + 2 * DAY_MS + 1)
    assert not DeadLetter.objects.exists()


def test_sweep_is_bounded_and_says_that_there_is_more(monkeypatch):
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    for _ in range(3):
        over()
    assert (sweep(NOW), Message.objects.count()) == (True, 1)
    assert (sweep(NOW), Message.objects.count()) == (False, 0)


def test_deleted_queue_goes_once_it_is_empty():
    message = new_message(queue_name="q")
    publish(message)
    Queue.objects.update(deleted=True)
    sweep(NOW)
    assert Queue.objects.exists()
    Message.objects.update(expires_at=NOW + 1)
    sweep(NOW)
    assert not Queue.objects.exists()


@pytest.mark.parametrize(
    ("fields", "kept"),
    [({}, False), ({"paused": True}, True), ({"pinned_rate": True}, True)],
)
def test_idle_key_is_forgotten_unless_somebody_has_set_it(fields, kept):
    FlowControl.objects.create(account="site", name="k", updated_at=NOW, **fields)
    sweep(NOW + 4 * DAY_MS)
    assert FlowControl.objects.exists() == kept


def test_key_of_a_waiting_message_is_kept():
    publish(new_message(flow_control_key="k", flow_control={"rate": 1, "period": 1}))
    sweep(NOW + 4 * DAY_MS)
    assert FlowControl.objects.exists()


@pytest.mark.django_db(transaction=True)
async def test_what_other_apps_have_is_swept_too(settings):
    settings.SWEEPS = [f"{__name__}.broken_sweep", f"{__name__}.other_sweep"]
    SWEPT.clear()
    assert await retention.sweep_all(NOW)
    assert SWEPT == [NOW]


@pytest.mark.django_db(transaction=True)
async def test_sweep_that_fails_holds_up_no_other_and_is_logged(settings, caplog):
    settings.SWEEPS = [f"{__name__}.broken_sweep"]
    assert not await retention.sweep_all(NOW)
    assert "cannot delete what is old, trying again" in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_sweeping_goes_on_at_once_while_there_is_more(settings, monkeypatch):
    settings.SWEEPS = [f"{__name__}.other_sweep"]
    monkeypatch.setattr(retention, "SWEEP_AGAIN_SECONDS", 0)
    SWEPT.clear()
    sweeping = asyncio.create_task(retention.keep_sweeping(lambda: NOW))
    while len(SWEPT) < 3:
        await asyncio.sleep(0.01)
    sweeping.cancel()
    assert SWEPT == [NOW] * 3


def test_sweeps_of_the_site_can_be_imported(settings):
    for path in settings.SWEEPS:
        retention.sweep_named(path)
