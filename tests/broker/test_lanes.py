"""Lanes: queues keep their order, flow control keys their limits."""

from typing import Any

import pytest

from broker import claiming
from broker.cancelling import cancel
from broker.claiming import ClaimTerms, claim, give_back
from broker.delivery import Outcome
from broker.models import FlowControl, Message, Queue, State
from broker.publishing import publish
from broker.settling import Settlement, settle_all
from tests.broker.messages import ERROR, LEASE_MS, NOW, OK, new_message, states, take

pytestmark = pytest.mark.django_db


def published(name: str, **fields: Any) -> Message:
    message = new_message(url=f"http://{name}.test/", **fields)
    publish(message)
    return message


def queued(*names: str, **fields: Any) -> list[Message]:
    return [published(name, queue_name="q", **fields) for name in names]


def limited(*names: str, **limits: int) -> list[Message]:
    """Messages under one flow control key."""
    limits = {"period": 1} | limits
    return [published(name, flow_control_key="k", flow_control=limits) for name in names]


def names(messages: list[Message]) -> list[str]:
    return [message.url.split(".")[0].removeprefix("http://") for message in messages]


def finish(message: Message, outcome: Outcome = OK, now: int = NOW) -> None:
    assert None not in settle_all([Settlement(message, outcome, now)])


def drain(now: int = NOW) -> list[str]:
    """Deliver one claim after another until nothing is left; return the order."""
    order, next_due_at = [], now
    while next_due_at is not None and next_due_at <= now:
        taken = take(now=now)
        for message in taken:
            finish(message, now=now)
        order += names(taken)
        next_due_at = claiming.next_due_at(now)
    return order


def test_queue_delivers_one_at_a_time_in_order():
    queued("a", "b", "c")
    [first] = take()
    assert take("two") == []
    finish(first)
    assert names(take("two")) == ["b"]


def test_messages_stored_together_keep_their_order():
    queued(*"abcdefghij")
    assert drain() == list("abcdefghij")


def test_queue_is_made_on_demand():
    queued("a")
    queue = Queue.objects.get()
    assert (queue.account, queue.name, queue.parallelism, queue.paused) == ("site", "q", 1, False)


def test_parallelism_is_never_exceeded():
    Queue.objects.create(account="site", name="q", parallelism=3)
    queued(*"abcde")
    first, *others = take()
    assert names([first, *others]) == ["a", "b", "c"]
    assert take("two") == []
    finish(first)
    assert names(take("two")) == ["d"]


def test_message_to_be_retried_keeps_its_slot():
    queued("a", "b", retry_delay_expression="5000")
    finish(take()[0], ERROR)
    assert take(now=NOW + 4999) == []
    [again] = take(now=NOW + 5000)
    assert names([again]) == ["a"]
    finish(again, now=NOW + 5000)
    assert names(take(now=NOW + 5000)) == ["b"]


def test_failed_message_makes_way():
    queued("a", "b", max_retries=0)
    finish(take()[0], ERROR)
    assert names(take()) == ["b"]


def test_callbacks_are_waited_for():
    queued("a", callback="http://callback.test/")
    queued("b")
    finish(take()[0])
    [callback] = take()
    assert names([callback]) == ["callback"]
    assert take("two") == []
    finish(callback)
    assert names(take()) == ["b"]


def test_callback_of_an_attempt_shares_the_slot_of_the_retry():
    queued("a", callback="http://callback.test/", retry_delay_expression="0")
    queued("b")
    finish(take()[0], ERROR)
    assert sorted(names(take())) == ["a", "callback"]
    assert take("two") == []


def test_paused_queue_delivers_nothing_and_loses_nothing():
    queued("a", "b")
    Queue.objects.update(paused=True)
    assert take() == []
    Queue.objects.update(paused=False, due_at=NOW)
    assert drain() == ["a", "b"]


def test_retry_in_a_paused_queue_waits():
    queued("a", "b", retry_delay_expression="0")
    finish(take()[0], ERROR)
    Queue.objects.update(paused=True)
    assert take(now=NOW + 1000) == []
    Queue.objects.update(paused=False, due_at=NOW)
    assert drain(NOW + 1000) == ["a", "b"]


def test_lowered_parallelism_holds_for_those_that_wait():
    Queue.objects.create(account="site", name="q", parallelism=2)
    queued(*"abc")
    first, second = take()
    Queue.objects.update(parallelism=1, due_at=NOW)
    finish(first)
    assert take() == []
    finish(second)
    assert names(take()) == ["c"]


def test_lowered_parallelism_holds_for_those_that_are_retried():
    Queue.objects.create(account="site", name="q", parallelism=3)
    for message in (queued(*"abc"), take())[1]:
        finish(message, ERROR)
    Queue.objects.update(parallelism=1)
    Message.objects.update(due_at=NOW)
    for name in "abc":
        [message] = take()
        assert names([message]) == [name]
        finish(message)


def test_delayed_message_joins_when_its_time_has_come():
    queued("late", not_before=NOW + 1000, due_at=NOW + 1000)
    queued("a", "b")
    assert drain() == ["a", "b"]
    queued("c", created_at=NOW + 2000, not_before=NOW + 2000)
    assert sorted(drain(NOW + 2000)) == ["c", "late"]


def test_lost_attempt_is_repeated_before_the_next_message():
    queued("a", "b")
    [message] = take("one")
    assert names(take("two", NOW + LEASE_MS)) == ["a"]
    assert states(message) == ["CREATED", "ACTIVE", "ERROR", "ACTIVE"]


def test_attempt_given_back_is_repeated_before_the_next_message():
    queued("a", "b")
    take("one")
    give_back("one", NOW)
    assert names(take("two")) == ["a"]


def test_canceled_message_makes_way():
    queued("a", "b", retry_delay_expression="60000")
    finish(first := take()[0], ERROR)
    cancel([first.pk], NOW)
    assert names(take()) == ["b"]


def test_message_canceled_while_active_holds_its_slot_until_its_end():
    queued("a", "b")
    [first] = take()
    cancel([first.pk], NOW)
    assert take("two") == []
    finish(first, ERROR)
    assert names(take("two")) == ["b"]


def test_lost_attempt_of_a_canceled_message_makes_way():
    queued("a", "b")
    [first] = take("one")
    cancel([first.pk], NOW)
    take("two", NOW + LEASE_MS)
    assert names(take("two", NOW + LEASE_MS)) in (["b"], [])
    assert Message.objects.get(pk=first.pk).state == State.CANCELED


def test_accounts_have_queues_of_their_own():
    queued("a")
    queued("b", account="other")
    assert sorted(names(take())) == ["a", "b"]
    assert Queue.objects.count() == 2


def test_key_limits_how_many_run_at_once():
    limited(*"abc", parallelism=2)
    first, second = take()
    assert names([first, second]) == ["a", "b"]
    assert take("two") == []
    finish(second)
    assert names(take("two")) == ["c"]


def test_key_limits_how_many_start_in_a_period():
    limited(*"abcde", rate=2, period=10)
    assert drain() == ["a", "b"]
    assert drain(NOW + 9999) == []
    assert drain(NOW + 10_000) == ["c", "d"]
    assert drain(NOW + 20_000) == ["e"]


def test_window_begins_with_the_first_start_after_the_last_one():
    limited("a", rate=1, period=10)
    drain()
    limited("b", "c", rate=1, period=10)
    assert drain(NOW + 15_000) == ["b"]
    assert drain(NOW + 24_999) == []
    assert drain(NOW + 25_000) == ["c"]


def test_retries_count_as_starts():
    limited("a", "b", rate=2, period=10)
    Message.objects.update(retry_delay_expression="0")
    first, _ = take()
    finish(first, ERROR)
    assert take() == []
    assert names(take(now=NOW + 10_000)) == ["a"]


def test_dispatcher_knows_when_the_next_window_begins():
    limited("a", "b", rate=1, period=10)
    take()
    [found] = claim([ClaimTerms("one", NOW, LEASE_MS, 1)])
    assert found.next_due_at == NOW + 10_000


def test_latest_message_sets_the_limits_unless_they_are_pinned():
    limited("a", parallelism=1, rate=5)
    FlowControl.objects.update(pinned_rate=True)
    limited("b", parallelism=2, rate=9, period=60)
    flow = FlowControl.objects.get()
    assert (flow.parallelism, flow.rate, flow.period_seconds) == (2, 5, 1)


def test_latest_message_may_lift_a_limit():
    limited("a", "b", parallelism=1)
    limited("c", rate=100)
    assert names(take()) == ["a", "b", "c"]


def test_paused_key_starts_nothing():
    limited("a", parallelism=1)
    FlowControl.objects.update(paused=True)
    assert take() == []
    FlowControl.objects.update(paused=False, due_at=NOW)
    assert names(take()) == ["a"]


def test_lost_attempt_under_a_key_is_not_counted_twice():
    limited("a", "b", parallelism=1)
    take("one")
    assert names(take("two", NOW + LEASE_MS)) == ["b"]
    assert take("two", NOW + LEASE_MS) == []


def test_queue_and_key_hold_together():
    fields = {"flow_control_key": "k", "flow_control": {"rate": 1, "period": 10}}
    queued("a", "b", **fields)
    published("other", **fields)
    assert len(drain()) == 1
    assert len(drain(NOW + 10_000)) == 1
    assert len(drain(NOW + 20_000)) == 1
    assert drain(NOW + 30_000) == []


def test_dispatcher_with_little_room_takes_no_more():
    limited(*"abc", parallelism=3)
    assert names(take(limit=2)) == ["a", "b"]
    assert names(take("two", limit=2)) == ["c"]


def test_many_lanes_take_their_turns():
    for number in range(50):
        published(f"m{number}", queue_name=f"q{number}")
    assert len(drain()) == 50


def test_queues_beyond_the_limit_are_refused(settings):
    settings.BROKER_QUEUES = 1
    queued("a")
    with pytest.raises(ValueError, match="quota maxQueues exceeded: 1"):
        published("b", queue_name="another")


def test_deleted_queue_counts_no_longer(settings):
    settings.BROKER_QUEUES = 1
    queued("a")
    Queue.objects.update(deleted=True)
    published("b", queue_name="another")


def test_window_holds_for_a_clock_that_is_a_little_behind():
    limited("a", "b", rate=1, period=10)
    assert names(take("one", NOW + 500)) == ["a"]
    assert take("two", NOW) == []


def test_lost_messages_and_those_of_lanes_share_the_limit():
    new_message(url="http://lost.test/").save()
    take("one")
    queued("a")
    assert names(take("two", NOW + LEASE_MS, limit=1)) == ["lost"]
    assert names(take("two", NOW + LEASE_MS, limit=1)) == ["a"]
