"""Claims: what is due goes to one dispatcher, for as long as it renews them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from broker import claiming
from broker.claiming import GIVEN_BACK, LOST, ClaimTerms, give_back, next_due_at, renew
from broker.models import Event, Message, State
from groupcommit.transactions import write_transaction
from tests.broker.messages import NOW, new_message, states

LEASE_MS = 10_000


def stored(**fields: object) -> Message:
    message = new_message(**fields)
    message.save()
    return message


def claim(dispatcher: str = "one", now: int = NOW, limit: int = 100) -> list[Message]:
    [claimed] = claiming.claim([ClaimTerms(dispatcher, now, LEASE_MS, limit)])
    return [Message.from_row(row) for row in claimed.rows]


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
    stored(body=b"\x00\xff", header={"X-A": ["1", "2"]}, labels=",a,", timeout_seconds=5)
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
            while Message.objects.filter(due_at__lte=NOW).exists():
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
    assert next_due_at("one", NOW) == NOW + 200


def test_there_is_no_next_due_when_all_is_over(db):
    stored(due_at=None, state=State.DELIVERED)
    assert next_due_at("one", NOW) is None


def test_renewed_claim_does_not_expire(db):
    stored()
    claim("one")
    assert renew("one", NOW + 5_000, LEASE_MS) == 1
    assert claim("two", NOW + LEASE_MS) == []


def test_only_own_claims_are_renewed(db):
    stored()
    claim("one")
    assert renew("two", NOW + 5_000, LEASE_MS) == 0


def test_message_given_back_is_due_at_once(db):
    message = stored()
    claim("one")
    assert give_back("one", NOW + 1) == 1
    assert claim("two", NOW + 1) == [message]
    assert states(message) == ["ACTIVE", "ERROR", "ACTIVE"]
    assert Event.objects.get(state=State.ERROR).error == GIVEN_BACK


def test_only_own_claims_are_given_back(db):
    stored()
    claim("one")
    assert give_back("two", NOW) == 0


def test_lost_attempt_of_a_canceled_message_ends_it(db):
    message = stored()
    claim("one")
    Message.objects.update(state=State.CANCEL_REQUESTED)
    assert claim("two", NOW + LEASE_MS) == []
    message.refresh_from_db()
    assert (message.state, message.due_at) == (State.CANCELED, None)


def test_messages_come_with_the_keys_of_all_accounts(db, settings):
    stored()
    [claimed] = claiming.claim([ClaimTerms("one", NOW, LEASE_MS, 1)])
    assert claimed.keys == {"site": settings.QSTASH_CURRENT_SIGNING_KEY}
