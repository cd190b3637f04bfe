"""The tables: claiming, prolonging, giving back and settling are conditional UPDATEs."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from broker.models import (
    LOST,
    DeadLetter,
    Event,
    Message,
    Pulse,
    State,
    Verdict,
    new_message_id,
    queue_is_stuck,
    remove_stale_pulses,
    settle,
)
from groupcommit.transactions import write_transaction
from tests.broker.messages import NOW, new_message, states

LEASE_MS = 10_000


def stored(**fields: object) -> Message:
    message = new_message(**fields)
    message.save()
    return message


def claim(dispatcher: str = "one", now: int = NOW, limit: int = 100) -> list[Message]:
    rows = Message.objects.claim(dispatcher, now, LEASE_MS, limit)
    return [Message.from_row(row) for row in rows]


def test_ids_are_alike_in_form_only():
    assert new_message_id().startswith("msg_")
    assert len({new_message_id() for _ in range(100)}) == 100


def test_only_what_is_due_is_claimed(db):
    due = stored()
    stored(due_at=NOW + 1)
    assert claim() == [due]


def test_the_longest_due_is_claimed_first(db):
    stored(due_at=NOW)
    older = stored(due_at=NOW - 1)
    assert claim(limit=1) == [older]


def test_no_more_than_wanted_are_claimed(db):
    for _ in range(5):
        stored()
    assert len(claim(limit=3)) == 3


def test_nothing_due_is_nothing_claimed(db):
    assert claim() == []


def test_claimed_message_is_active_until_its_lease_ends(db):
    stored()
    [message] = claim("one")
    message.refresh_from_db()
    assert (message.state, message.claimed_by) == (State.ACTIVE, "one")
    assert message.due_at == NOW + LEASE_MS


def test_claimed_row_is_the_message_as_the_orm_reads_it(db):
    stored(body=b"\x00\xff", header={"X-A": ["1", "2"]}, labels=["a"], timeout_seconds=5)
    [claimed] = claim()
    assert vars(claimed) | {"_state": 0} == vars(Message.objects.get()) | {"_state": 0}


def test_claim_is_logged_as_active(db):
    message = stored()
    claim()
    assert states(message) == ["ACTIVE"]
    assert Event.objects.get().time == NOW


def test_claimed_message_is_not_claimed_again(db):
    stored()
    claim("one")
    assert claim("two", NOW + LEASE_MS - 1) == []


def test_expired_claim_is_taken_by_another_dispatcher(db):
    message = stored()
    claim("one")
    assert claim("two", NOW + LEASE_MS) == [message]
    assert states(message) == ["ACTIVE", "ERROR", "ACTIVE"]
    assert Event.objects.get(state=State.ERROR).error == LOST


def test_dispatcher_does_not_take_over_from_itself(db):
    stored()
    claim("one")
    assert claim("one", NOW + LEASE_MS) == []


@pytest.mark.django_db(transaction=True)
def test_rival_dispatchers_never_claim_the_same_message():
    messages = {stored().id for _ in range(40)}

    def claim_all(dispatcher: str) -> list[int]:
        claimed: list[int] = []
        try:
            while Message.objects.due(NOW).exists():
                with write_transaction():
                    claimed += [message.id for message in claim(dispatcher, limit=3)]
            return claimed
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        claims = sum(threads.map(claim_all, "abcd"), [])
    assert sorted(claims) == sorted(messages)


def test_next_due_is_the_earliest_that_others_hold_or_nobody(db):
    stored(due_at=NOW - 1)
    stored(due_at=NOW + 300)
    stored(due_at=NOW + 200, claimed_by="two")
    stored(due_at=NOW + 100, claimed_by="one")
    assert Message.objects.next_due_at("one", NOW) == NOW + 200


def test_there_is_no_next_due_when_all_is_over(db):
    stored(due_at=None, state=State.DELIVERED)
    assert Message.objects.next_due_at("one", NOW) is None


def test_renewed_claim_does_not_expire(db):
    stored()
    claim("one")
    assert Message.objects.renew("one", NOW + 5_000, LEASE_MS) == 1
    assert claim("two", NOW + LEASE_MS) == []


def test_only_own_claims_are_renewed(db):
    stored()
    claim("one")
    assert Message.objects.renew("two", NOW + 5_000, LEASE_MS) == 0


def test_message_given_back_is_due_at_once(db):
    message = stored()
    claim("one")
    assert Message.objects.give_back("one", NOW + 1) == 1
    assert claim("two", NOW + 1) == [message]
    assert "ERROR" not in states(message)


def test_only_own_claims_are_given_back(db):
    stored()
    claim("one")
    assert Message.objects.give_back("two", NOW) == 0


@pytest.mark.parametrize("state", [State.DELIVERED, State.FAILED])
def test_settled_message_is_never_due_again(db, state):
    stored()
    [message] = claim()
    assert settle([Verdict(message, state, NOW)]) == [True]
    message.refresh_from_db()
    assert (message.state, message.due_at, message.claimed_by) == (state, None, "")


def test_message_to_be_tried_again_is_due_after_its_delay(db):
    stored(retried=1)
    [message] = claim()
    settle([Verdict(message, State.RETRY, NOW, 500)])
    message.refresh_from_db()
    assert (message.state, message.due_at, message.retried) == (State.RETRY, NOW + 500, 2)


def test_lost_claim_settles_nothing(db):
    stored()
    [message] = claim("one")
    claim("two", NOW + LEASE_MS)
    assert settle([Verdict(message, State.FAILED, NOW + LEASE_MS)]) == [False]
    message.refresh_from_db()
    assert (message.state, message.claimed_by) == (State.ACTIVE, "two")


def test_settled_message_is_not_settled_again(db):
    stored()
    [message] = claim()
    settle([Verdict(message, State.DELIVERED, NOW)])
    assert settle([Verdict(message, State.RETRY, NOW)]) == [False]


def test_verdicts_are_answered_in_their_order(db):
    for _ in range(3):
        stored()
    first, second, third = claim()
    settle([Verdict(second, State.DELIVERED, NOW)])
    verdicts = [Verdict(message, State.DELIVERED, NOW) for message in (third, second, first)]
    assert settle(verdicts) == [True, False, True]


def test_same_line_is_added_to_several_logs(db):
    messages = [stored(), stored()]
    Event.objects.log([message.id for message in messages], State.ERROR, NOW, "why")
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


def test_queue_of_a_busy_dispatcher_is_not_stuck(db):
    stored()
    Pulse.objects.create(dispatcher="one", seen_at=NOW + 9_000, in_flight=1000)
    assert not queue_is_stuck(NOW + 10_000)


def test_queue_with_nothing_due_is_not_stuck(db):
    stored(due_at=NOW + 60_000)
    stored(due_at=None, state=State.DELIVERED)
    assert not queue_is_stuck(NOW + 10_000)


def test_claims_left_behind_by_a_dead_dispatcher_are_noticed(db):
    stored()
    claim("one")
    assert queue_is_stuck(NOW + LEASE_MS + 10_000)


def test_dispatchers_that_left_or_fell_silent_are_forgotten(db):
    for name, age_ms in [("left", 0), ("silent", 3_600_001), ("alive", 0)]:
        Pulse.objects.create(dispatcher=name, seen_at=NOW - age_ms)
    remove_stale_pulses(NOW, ["left"])
    assert [str(pulse) for pulse in Pulse.objects.all()] == ["alive"]
