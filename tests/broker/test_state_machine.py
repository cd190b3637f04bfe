"""Messages are published, cancelled, paused, retried and lost in any order, at any time: the
tables and a model of them never differ, and in the end nothing is lost.

The model is what these pages say, in plain Python and without a database. Both are driven by
the same random steps and compared after each of them.
https://upstash.com/docs/qstash/features/queues
https://upstash.com/docs/qstash/features/flowcontrol
"""

from dataclasses import dataclass, field

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from broker.cancelling import cancel
from broker.claiming import ClaimTerms, claim, claim_rest, give_back, next_due_at, renew
from broker.models import DeadLetter, FlowControl, Message
from broker.publishing import publish
from broker.resources import dead_letters, queues
from broker.resources.dead_letters import Taking
from broker.resources.queues import QueueChange
from broker.settling import Settlement, settle_all
from tests.broker.messages import ERROR, NOW, OK, new_message

LEASE_MS, DELAY_MS = 1000, 300
DISPATCHERS = ("one", "two")
OVER = {"DELIVERED", "FAILED", "CANCELED"}


@dataclass
class Copy:
    """The model's idea of a message."""

    pk: int
    queue: bool
    key: bool
    due: int
    state: str = "CREATED"
    retried: int = 0
    holder: str = ""
    slot: bool = False
    stands: str = ""  # in which line: "queue", "key" or none
    place: int = 0


@dataclass
class Model:
    """One queue, one flow control key, and all messages."""

    messages: list[Copy] = field(default_factory=list)
    paused: bool = False
    parallelism: int = 1
    limit: int = 1
    places: int = 0
    look_at: dict[str, int | None] = field(default_factory=dict)  # when to look at each line

    def join(self, copy: Copy, line: str, now: int) -> None:
        self.places += 1
        copy.stands, copy.place, copy.holder = line, self.places, ""
        self.look_at[line] = now

    def look_again(self, copy: Copy, now: int) -> None:
        self.look_at |= {"queue": now} if copy.queue else {}
        self.look_at |= {"key": now} if copy.key else {}

    def may_run(self, line: str, now: int) -> bool:
        moment = self.look_at.get(line)
        if moment is None or moment > now:
            return False
        self.look_at[line] = None
        return True

    def line(self, name: str) -> list[Copy]:
        return sorted((c for c in self.messages if c.stands == name), key=lambda c: (c.place, c.pk))

    def end(self, copy: Copy, state: str, now: int) -> None:
        copy.state, copy.slot, copy.stands, copy.holder = state, False, "", ""
        self.look_again(copy, now)

    def claim(self, dispatcher: str, now: int) -> set[int]:
        """What is claimed: messages outside the lanes, then those that the lanes let go."""
        due = [
            c
            for c in self.messages
            if c.state not in OVER and not c.stands and c.due <= now and c.holder != dispatcher
        ]
        going = []
        for copy in sorted(due, key=lambda c: (c.due, c.pk)):
            if copy.state == "CANCEL_REQUESTED":
                self.end(copy, "CANCELED", now)
            elif copy.queue or copy.key:
                copy.state = "RETRY" if copy.state == "ACTIVE" else copy.state
                self.join(copy, "queue" if copy.queue else "key", now)
            else:
                going.append(copy)
        going += self.run_lanes(now)
        for copy in going:
            copy.state, copy.holder, copy.stands = "ACTIVE", dispatcher, ""
            copy.due = now + LEASE_MS
        return {copy.pk for copy in going}

    def run_lanes(self, now: int) -> list[Copy]:
        going = []
        if self.may_run("queue", now) and not self.paused:
            running = sum(c.slot and (c.stands == "key" or c.holder != "") for c in self.messages)
            let_go = [c for c in self.line("queue") if c.slot]
            let_go = let_go[: max(0, self.parallelism - running)]
            slots = sum(c.slot for c in self.messages)
            newcomers = [c for c in self.line("queue") if not c.slot]
            let_go += newcomers[: max(0, self.parallelism - slots)]
            for copy in let_go:
                copy.slot = True
                if copy.key:
                    self.join(copy, "key", now)
                else:
                    copy.stands = ""
                    going.append(copy)
        if not self.may_run("key", now):
            return going
        running = sum(
            c.key and bool(c.holder) and c.state in {"ACTIVE", "CANCEL_REQUESTED"}
            for c in self.messages
        )
        return going + self.line("key")[: max(0, self.limit - running)]


class Machine(RuleBasedStateMachine):
    """Random steps on both sides."""

    @initialize(parallelism=st.integers(1, 3), limit=st.integers(1, 3))
    def begin(self, parallelism: int, limit: int) -> None:
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.now = NOW
        self.model = Model(parallelism=parallelism, limit=limit)
        queues.upsert([QueueChange("site", "q", NOW, parallelism=parallelism)])
        self.model.look_at["queue"] = NOW

    def copy_of(self, pick: int, *states: str) -> Copy | None:
        chosen = [c for c in self.model.messages if c.state in states]
        return chosen[pick % len(chosen)] if chosen else None

    @rule(queue=st.booleans(), key=st.booleans(), delay=st.sampled_from([0, 0, 0, 500]))
    def publish(self, queue: bool, key: bool, delay: int) -> None:
        message = new_message(
            created_at=self.now,
            not_before=self.now + delay,
            due_at=self.now + delay,
            max_retries=1,
            retry_delay_expression=str(DELAY_MS),
            queue_name="q" if queue else None,
            flow_control_key="k" if key else None,
            flow_control={"parallelism": self.model.limit, "period": 1} if key else {},
        )
        publish(message)
        copy = Copy(message.pk, queue, key, self.now + delay)
        if (queue or key) and not delay:
            self.model.join(copy, "queue" if queue else "key", self.now)
        self.model.messages.append(copy)

    @rule(dispatcher=st.sampled_from(DISPATCHERS))
    def claim(self, dispatcher: str) -> None:
        taken = []
        for step in (claim, claim_rest):
            [found] = step([ClaimTerms(dispatcher, self.now, LEASE_MS, 1000)])
            taken += [row[0] for row in found.rows]
        assert len(taken) == len(set(taken))
        assert set(taken) == self.model.claim(dispatcher, self.now)

    @rule(pick=st.integers(0, 99), accepted=st.booleans())
    def settle(self, pick: int, accepted: bool) -> None:
        if not (copy := self.copy_of(pick, "ACTIVE", "CANCEL_REQUESTED")) or not copy.holder:
            return
        message = Message.objects.get(pk=copy.pk)
        assert None not in settle_all([Settlement(message, OK if accepted else ERROR, self.now)])
        if accepted:
            self.model.end(copy, "DELIVERED", self.now)
        elif copy.state == "CANCEL_REQUESTED":
            self.model.end(copy, "CANCELED", self.now)
        elif copy.retried:
            self.model.end(copy, "FAILED", self.now)
        else:
            copy.state, copy.retried, copy.holder = "RETRY", 1, ""
            copy.due = self.now + DELAY_MS
            self.model.look_again(copy, self.now)

    @rule(pick=st.integers(0, 99))
    def settle_a_claim_that_was_lost(self, pick: int) -> None:
        if copy := self.copy_of(pick, "ACTIVE"):
            stale = Message.objects.get(pk=copy.pk)
            stale.claimed_by = "somebody who is dead"
            assert settle_all([Settlement(stale, OK, self.now)]) == [None]

    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        if not (copy := self.copy_of(pick, "CREATED", "RETRY", "ACTIVE", *OVER)):
            return
        assert cancel([copy.pk], self.now) == (copy.state not in OVER)
        if copy.state in {"CREATED", "RETRY"}:
            self.model.end(copy, "CANCELED", self.now)
        elif copy.state == "ACTIVE":
            copy.state = "CANCEL_REQUESTED"

    @rule(paused=st.booleans(), parallelism=st.integers(1, 3))
    def change_queue(self, paused: bool, parallelism: int) -> None:
        queues.upsert([QueueChange("site", "q", self.now, parallelism=parallelism, paused=paused)])
        if paused or parallelism < self.model.parallelism:
            for copy in self.model.line("key"):
                if copy.queue:
                    copy.stands = "queue"
                    if copy.state == "CREATED":
                        copy.slot, copy.place = False, 0
        self.model.paused, self.model.parallelism = paused, parallelism
        self.model.look_at["queue"] = self.now

    @rule(dispatcher=st.sampled_from(DISPATCHERS))
    def stop_dispatcher(self, dispatcher: str) -> None:
        give_back(dispatcher, self.now)
        for copy in self.model.messages:
            if copy.holder == dispatcher:
                copy.due, copy.holder = self.now, ""
                copy.state = "RETRY" if copy.state == "ACTIVE" else copy.state

    @rule(dispatcher=st.sampled_from(DISPATCHERS))
    def renew(self, dispatcher: str) -> None:
        renew(dispatcher, self.now, LEASE_MS)
        for copy in self.model.messages:
            if copy.holder == dispatcher:
                copy.due = self.now + LEASE_MS

    @rule(jump=st.sampled_from([1, DELAY_MS, LEASE_MS, 10 * LEASE_MS, -DELAY_MS]))
    def clock_jumps(self, jump: int) -> None:
        self.now += jump

    @precondition(lambda self: any(c.state == "FAILED" for c in self.model.messages))
    @rule(again=st.booleans())
    def empty_dead_letters(self, again: bool) -> None:
        letters = list(DeadLetter.objects.order_by("id"))
        take = dead_letters.retry if again else dead_letters.delete
        [taken] = take([Taking("site", [letter.pk for letter in letters], {}, self.now)])
        for letter, receipt in zip(letters, taken if again else [], strict=False):
            old = next(c for c in self.model.messages if c.pk == letter.message_id)
            new = Message.objects.get(message_id=receipt.message_id)
            copy = Copy(new.pk, old.queue, old.key, self.now)
            if copy.queue or copy.key:
                self.model.join(copy, "queue" if copy.queue else "key", self.now)
            self.model.messages.append(copy)

    @invariant()
    def tables_and_model_are_the_same(self) -> None:
        rows = Message.objects.order_by("id").values_list("id", "state", "retried", "claimed_by")
        copies = sorted(self.model.messages, key=lambda c: c.pk)
        assert list(rows) == [(c.pk, c.state, c.retried, c.holder) for c in copies]

    @invariant()
    def limits_hold(self) -> None:
        carried = Message.objects.filter(state__in=["ACTIVE", "CANCEL_REQUESTED"])
        keyed = carried.filter(flow_control_key="k").exclude(claimed_by="")
        assert keyed.count() <= self.model.limit

    @invariant()
    def nothing_stands_where_nobody_looks(self) -> None:
        waiting = Message.objects.filter(state__in=["CREATED", "RETRY"])
        assert not waiting.filter(due_at=None, lane=None).exists()
        assert not Message.objects.filter(state__in=OVER, slot__isnull=False).exists()

    def teardown(self) -> None:
        """Go on until everything published has ended."""
        try:
            queues.upsert([QueueChange("site", "q", self.now, paused=False)])
            self.model.paused, self.model.look_at["queue"] = False, self.now
            for _ in range(10 * len(self.model.messages) + 10):
                self.now += 10 * LEASE_MS
                self.claim("three")
                for number in range(len(self.model.messages)):
                    self.settle(number, accepted=True)
                self.tables_and_model_are_the_same()
            assert {c.state for c in self.model.messages} <= OVER
            assert next_due_at(self.now) is None or FlowControl.objects.exists()
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)


@pytest.mark.django_db
def test_tables_and_model_never_differ():
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=30,
            phases=[Phase.generate],
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
