"""Claims: what is due goes to one dispatcher, for as long as it renews them."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, connections

from broker import claiming
from broker.accounts import rotate
from broker.claiming import GIVEN_BACK, LOST, ClaimTerms, give_back, next_due_at, renew
from broker.models import Event, Message, State
from groupcommit.transactions import write_transaction
from tests.broker.messages import LEASE_MS, NOW, new_message, states, take


def stored(**fields: object) -> Message:
    message = new_message(**fields)
    message.save()
    return message


def test_only_what_is_due_is_claimed(db):
    due = stored()
    stored(due_at=NOW + 1)
    assert take() == [due]


def test_the_longest_due_is_claimed_first(db):
    stored(due_at=NOW)
    older = stored(due_at=NOW - 1)
    assert take(limit=1) == [older]


def test_no_more_than_wanted_are_claimed(db):
    for _ in range(5):
        stored()
    assert len(take(limit=3)) == 3


def test_nothing_due_is_nothing_claimed(db):
    assert take() == []


def test_claimed_message_is_active_until_its_lease_ends(db):
    stored()
    [message] = take("one")
    message.refresh_from_db()
    assert (message.state, message.claimed_by) == (State.ACTIVE, "one")
    assert message.due_at == NOW + LEASE_MS


def test_claimed_row_is_the_message_as_the_orm_reads_it(db):
    stored(body=b"\x00\xff", header={"X-A": ["1", "2"]}, labels=",a,", timeout_seconds=5)
    [claimed] = take()
    assert vars(claimed) | {"_state": 0} == vars(Message.objects.get()) | {"_state": 0}


def test_claim_has_the_key_that_signs_now(db):
    stored()
    rotated = rotate("site")
    [claimed] = claiming.claim([ClaimTerms("one", NOW, LEASE_MS, 100)])
    assert claimed.keys == {"site": rotated.current}


def test_full_claim_may_have_left_something(db):
    stored(), stored()
    terms = ClaimTerms("one", NOW, LEASE_MS, limit=1)
    assert [claiming.claim([terms])[0].next_due_at for _ in range(3)] == [NOW, NOW, None]


def test_claim_is_logged_as_active(db):
    message = stored()
    take()
    assert states(message) == ["ACTIVE"]
    assert Event.objects.get().time == NOW


def test_claimed_message_is_not_claimed_again(db):
    stored()
    take("one")
    assert take("two", NOW + LEASE_MS - 1) == []


def test_expired_claim_is_taken_by_another_dispatcher(db):
    message = stored()
    take("one")
    assert take("two", NOW + LEASE_MS) == [message]
    assert states(message) == ["ACTIVE", "ERROR", "ACTIVE"]
    assert Event.objects.get(state=State.ERROR).error == LOST


def test_dispatcher_does_not_take_over_from_itself(db):
    stored()
    take("one")
    assert take("one", NOW + LEASE_MS) == []


@pytest.mark.django_db(transaction=True)
def test_rival_dispatchers_never_claim_the_same_message():
    messages = {stored().id for _ in range(40)}

    def claim_all(dispatcher: str) -> list[int]:
        claimed: list[int] = []
        try:
            while Message.objects.filter(due_at__lte=NOW).exists():
                with write_transaction():
                    claimed += [message.id for message in take(dispatcher, limit=3)]
            return claimed
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        claims = sum(threads.map(claim_all, "abcd"), [])
    assert sorted(claims) == sorted(messages)


def test_next_due_is_the_earliest_that_waits(db):
    stored(due_at=NOW - 1)
    stored(due_at=NOW + 300)
    stored(due_at=NOW + 200, state=State.RETRY)
    stored(due_at=NOW + 100, claimed_by="two", state=State.ACTIVE)
    assert next_due_at(NOW) == NOW + 200


def test_there_is_no_next_due_when_all_is_over(db):
    stored(due_at=None, state=State.DELIVERED)
    assert next_due_at(NOW) is None


def test_renewed_claim_does_not_expire(db):
    stored()
    take("one")
    assert renew("one", NOW + 5_000, LEASE_MS) == 1
    assert take("two", NOW + LEASE_MS) == []


def test_only_own_claims_are_renewed(db):
    stored()
    take("one")
    assert renew("two", NOW + 5_000, LEASE_MS) == 0


def test_message_given_back_is_due_at_once(db):
    message = stored()
    take("one")
    assert give_back("one", NOW + 1) == 1
    assert take("two", NOW + 1) == [message]
    assert states(message) == ["ACTIVE", "ERROR", "ACTIVE"]
    assert Event.objects.get(state=State.ERROR).error == GIVEN_BACK


def test_only_own_claims_are_given_back(db):
    stored()
    take("one")
    assert give_back("two", NOW) == 0


def test_lost_attempt_of_a_canceled_message_ends_it(db):
    message = stored()
    take("one")
    Message.objects.update(state=State.CANCEL_REQUESTED)
    assert take("two", NOW + LEASE_MS) == []
    message.refresh_from_db()
    assert (message.state, message.due_at) == (State.CANCELED, None)


def test_messages_come_with_the_keys_of_all_accounts(db, settings):
    stored()
    [claimed] = claiming.claim([ClaimTerms("one", NOW, LEASE_MS, 1)])
    assert claimed.keys == {"site": settings.QSTASH_CURRENT_SIGNING_KEY}


@pytest.mark.parametrize("flush", [True, False])
def test_claim_waits_for_the_disk_only_if_it_is_to(transactional_db, flush):
    message, on_postgresql = stored(), connection.vendor == "postgresql"
    with write_transaction(flush=flush), connection.cursor() as cursor:
        [claimed] = claiming.claim([ClaimTerms("one", NOW, LEASE_MS, 1)])
        cursor.execute("SHOW synchronous_commit" if on_postgresql else "PRAGMA synchronous")
        (waits,) = cursor.fetchone()
    assert claimed.ids == [message.id]
    assert waits == (("off", "on") if on_postgresql else (1, 2))[flush]
