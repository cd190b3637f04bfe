"""The rows: their ids, their logs, the dispatchers' pulses."""

from broker.ids import new_message_id
from broker.models import (
    DeadLetter,
    Message,
    Pulse,
    Queue,
    State,
    dispatcher_is_alive,
    queue_is_stuck,
    remove_stale_pulses,
)
from broker.models.log import add_line
from tests.broker.messages import LEASE_MS, NOW, new_message, states, take


def stored(**fields: object) -> Message:
    message = new_message(**fields)
    message.save()
    return message


def test_ids_are_alike_in_form_only():
    assert new_message_id().startswith("msg_")
    assert len({new_message_id() for _ in range(100)}) == 100


def test_ids_grow_with_time():
    early = new_message_id()
    while new_message_id()[:16] == early[:16]:
        pass
    assert new_message_id() > early


def test_labels_are_kept_in_order(db):
    assert stored(labels=",b,a,").label_list == ["b", "a"]
    assert stored().label_list == []


def test_same_line_is_added_to_several_logs(db):
    messages = [stored(), stored()]
    add_line([message.id for message in messages], State.ERROR, NOW, "why")
    assert [states(message) for message in messages] == [["ERROR"], ["ERROR"]]


def test_dead_letter_is_named_after_its_time(db):
    letter = DeadLetter.objects.create(message=stored(), failed_at=NOW, response_status=0)
    assert str(letter) == letter.dlq_id == f"{NOW}-{letter.id}"


def test_queue_without_a_dispatcher_is_stuck_after_ten_seconds(db):
    stored()
    assert not queue_is_stuck(NOW + 9_999)
    assert queue_is_stuck(NOW + 10_000)


def test_queue_of_a_dead_dispatcher_is_stuck(db):
    stored()
    Pulse.objects.create(dispatcher="one", seen_at=NOW)
    assert queue_is_stuck(NOW + 10_000)


def test_dispatcher_is_alive_for_ten_seconds_after_each_sign_of_life(db):
    assert not dispatcher_is_alive(NOW)
    Pulse.objects.create(dispatcher="one", seen_at=NOW)
    assert dispatcher_is_alive(NOW + 9_999)
    assert not dispatcher_is_alive(NOW + 10_000)


def test_queue_of_a_busy_dispatcher_is_not_stuck(db):
    stored()
    Pulse.objects.create(dispatcher="one", seen_at=NOW + 9_000, in_flight=1000)
    assert not queue_is_stuck(NOW + 10_000)


def test_queue_with_nothing_due_is_not_stuck(db):
    stored(due_at=NOW + 60_000)
    stored(due_at=None, state=State.DELIVERED)
    assert not queue_is_stuck(NOW + 10_000)


def test_queue_whose_lane_nobody_runs_is_stuck(db):
    Queue.objects.create(account="site", name="q", due_at=NOW)
    assert queue_is_stuck(NOW + 10_000)


def test_claims_left_behind_by_a_dead_dispatcher_are_noticed(db):
    stored()
    take("one")
    assert queue_is_stuck(NOW + LEASE_MS + 10_000)


def test_dispatchers_that_ended_or_stopped_renewing_are_forgotten(db):
    for name, age_ms in [("left", 0), ("silent", 3_600_001), ("alive", 0)]:
        Pulse.objects.create(dispatcher=name, seen_at=NOW - age_ms)
    remove_stale_pulses(NOW, ["left"])
    assert [str(pulse) for pulse in Pulse.objects.all()] == ["alive"]
