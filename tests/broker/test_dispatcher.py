"""The dispatcher by hand, one round at a time, and running: what it claims, delivers, settles."""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from django.db import ProgrammingError, connection
from django.http import HttpRequest, HttpResponse

from broker import open_files
from broker.claiming import LOST, claim
from broker.connections import Connections
from broker.delivery import Outcome
from broker.dispatcher import CLAIM_AT_ONCE, PATIENCE_SECONDS, Dispatcher
from broker.models import DeadLetter, Event, Message, Pulse, State
from broker.own_site import OwnSite
from broker.publishing import read_message, store
from broker.settling import Settlement, settle_all
from broker.wakeup import LATE_MS
from groupcommit.writer import writer
from harness.waiting import until
from tests.broker.messages import ERROR, NO_ANSWER, NOW, OK, Destination, new_message
from tests.elsewhere import elsewhere

pytestmark = pytest.mark.django_db(transaction=True)

HOPELESS = Outcome(489, {"Upstash-Nonretryable-Error": ["true"]}, b"", "HTTP 489")
LATER = 4_000_000_000_000


class Clock:
    """Stands still until a test moves it on."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def published(**fields: object) -> Message:
    message = new_message(**fields)
    await writer.write(store, message)
    return message


async def deliver(*outcomes: Outcome, clock: Clock, **fields: object) -> Message:
    """Publish a message, attempt it once for each outcome, just when it is due."""
    message = await published(**fields)
    dispatcher = Dispatcher(Destination(*outcomes), clock)
    for _ in outcomes:
        clock.now = message.due_at or clock.now
        assert await dispatcher.run_once() >= 1
        await message.arefresh_from_db()
    return message


async def log(message: Message) -> list[str]:
    lines = Event.objects.filter(message=message).order_by("id")
    return [state async for state in lines.values_list("state", flat=True)]


async def test_message_is_delivered(clock):
    message = await deliver(OK, clock=clock)
    assert (message.state, message.due_at, message.retried) == ("DELIVERED", None, 0)
    assert await log(message) == ["CREATED", "ACTIVE", "DELIVERED"]


async def test_message_to_the_own_site_needs_no_destination(clock):
    class Handler:
        async def get_response_async(self, request: HttpRequest) -> HttpResponse:
            return HttpResponse(f"{request.method} {request.path}")

    own, other = "http://jobs.test/api/long-task", "http://other.test/api/long-task"
    await published(url=own)
    await published(url=other)
    destination = Destination()
    dispatcher = Dispatcher(destination, clock, OwnSite(Handler(), "http://jobs.test"))
    assert await dispatcher.run_once() == 2
    assert [message.url for message in destination.messages] == [other]
    event = await Event.objects.aget(state="DELIVERED", message__url=own)
    assert bytes(event.response_body) == b"POST /api/long-task"


async def test_dispatcher_that_is_relieved_takes_only_what_is_late(clock):
    await published()
    dispatcher = Dispatcher(Destination(), clock)
    dispatcher.watch.is_relieved = True
    assert await dispatcher.run_once() == 0
    clock.now = NOW + LATE_MS
    assert await dispatcher.run_once() == 1


async def test_round_with_nothing_due_delivers_nothing(clock):
    await published(due_at=NOW + 1)
    assert await Dispatcher(Destination(), clock).run_once() == 0


async def test_failed_attempt_is_planned_again_by_the_default_backoff(clock):
    message = await deliver(ERROR, clock=clock)
    assert (message.state, message.due_at, message.retried) == ("RETRY", NOW + 12_182, 1)
    assert await log(message) == ["CREATED", "ACTIVE", "ERROR", "RETRY"]


async def test_failed_attempt_is_logged_with_its_answer(clock):
    await deliver(ERROR, clock=clock)
    event = await Event.objects.aget(state="ERROR")
    assert (event.response_status, event.response_header) == (500, {"X-A": ["1"]})
    assert (bytes(event.response_body), event.error) == (b"oops", "HTTP 500")
    assert (await Event.objects.aget(state="RETRY")).next_delivery_time == NOW + 12_182


async def test_attempt_without_an_answer_is_logged_without_a_status(clock):
    message = await deliver(NO_ANSWER, clock=clock)
    event = await Event.objects.aget(state="ERROR")
    assert (event.response_status, event.error) == (None, "no answer within 5 s")
    assert message.state == "RETRY"


async def test_retries_follow_the_publishers_expression(clock):
    plan = "1000 * pow(2, retried)"
    await deliver(ERROR, ERROR, ERROR, clock=clock, retry_delay_expression=plan)
    times = Event.objects.filter(state="RETRY").order_by("id")
    delays = [event.next_delivery_time - event.time async for event in times]
    assert delays == [1000, 2000, 4000]


# The date is 90 s after NOW.
@pytest.mark.parametrize("asked", ["90", "1m30s", "Tue, 14 Nov 2023 22:14:50 GMT"])
async def test_destination_may_ask_for_a_time(clock, asked):
    answer = Outcome(503, {"Retry-After": [asked]}, b"", "HTTP 503")
    message = await deliver(answer, clock=clock, retry_delay_expression="1")
    assert message.due_at == NOW + 90_000


async def test_delivery_after_a_failure_ends_well(clock):
    message = await deliver(ERROR, OK, clock=clock)
    assert message.state == "DELIVERED"
    assert await log(message) == [
        *("CREATED", "ACTIVE", "ERROR", "RETRY"),
        *("ACTIVE", "DELIVERED"),
    ]


async def test_attempts_are_used_up_after_the_last_retry(clock):
    message = await deliver(ERROR, ERROR, clock=clock, max_retries=1)
    assert (message.state, message.due_at, message.retried) == ("FAILED", None, 1)
    assert (await log(message))[-3:] == ["ACTIVE", "ERROR", "FAILED"]


async def test_failed_message_becomes_a_dead_letter_with_its_last_answer(clock):
    message = await deliver(ERROR, clock=clock, max_retries=0)
    letter = await DeadLetter.objects.aget()
    assert (letter.message_id, letter.failed_at) == (message.id, NOW)
    assert (letter.response_status, bytes(letter.response_body)) == (500, b"oops")


async def test_dead_letter_of_an_attempt_without_an_answer_has_status_zero(clock):
    await deliver(NO_ANSWER, clock=clock, max_retries=0)
    assert (await DeadLetter.objects.aget()).response_status == 0


async def test_hopeless_message_fails_at_once(clock):
    message = await deliver(HOPELESS, clock=clock)
    assert (message.state, await DeadLetter.objects.acount()) == ("FAILED", 1)


async def test_489_without_its_header_is_an_ordinary_failure(clock):
    message = await deliver(HOPELESS._replace(header={}), clock=clock)
    assert message.state == "RETRY"


async def test_delivered_message_leaves_no_dead_letter(clock):
    await deliver(OK, clock=clock, failure_callback="http://callback.test/")
    assert not await DeadLetter.objects.aexists()
    assert await Message.objects.acount() == 1


async def test_attempt_that_breaks_is_a_failed_attempt(clock):
    async def broken(connections: object, message: object, key: object) -> Outcome:
        raise RuntimeError("broken")

    message = await published()
    await Dispatcher(broken, clock).run_once()
    await message.arefresh_from_db()
    assert (message.state, message.claimed_by) == ("RETRY", "")
    assert (await Event.objects.aget(state="ERROR")).error == "RuntimeError: broken"


async def test_message_that_cannot_be_settled_becomes_a_dead_letter(clock, monkeypatch, caplog):
    def broken(message: Message, outcome: Outcome, now: int) -> list[Message]:
        raise ValueError("no such option")

    monkeypatch.setattr("broker.callbacks.of_attempt", broken)
    monkeypatch.setattr("broker.dispatcher.PAUSE_AFTER_ERROR_SECONDS", 0)
    await published(callback="http://callback.test/")
    assert await Dispatcher(Destination(OK), clock).run_once() == 1
    message = await Message.objects.aget()
    assert (message.state, await DeadLetter.objects.acount()) == ("FAILED", 1)
    error = await Event.objects.aget(state="ERROR")
    assert error.error == "cannot be settled: ValueError: no such option"
    assert caplog.text.count("settling failed, trying again") == 3


async def test_message_is_no_dead_letter_for_what_is_missing_in_the_database(clock, monkeypatch):
    """A migration that has not run yet, say: not even a dead letter can be stored until it has."""
    tries = []

    def missing_at_first(settlements: list[Settlement]) -> list[bool]:
        tries.extend(settlement.given_up for settlement in settlements)
        if len(tries) <= 6:
            raise ProgrammingError('relation "broker_event" does not exist')
        return settle_all(settlements)

    monkeypatch.setattr("broker.dispatcher.settle_all", missing_at_first)
    monkeypatch.setattr("broker.dispatcher.PAUSE_AFTER_ERROR_SECONDS", 0)
    message = await published()
    assert await Dispatcher(Destination(OK), clock).run_once() == 1
    await message.arefresh_from_db()
    assert (message.state, await DeadLetter.objects.acount()) == ("DELIVERED", 0)
    assert tries == [False, False, False, True, False, True, False]


async def test_lost_claim_settles_nothing(clock):
    message = await published(max_retries=0)
    slow, quick = Destination(ERROR).hold(), Destination(OK)
    loser = Dispatcher(slow, clock)
    await loser.claim()
    await slow.get()
    clock.now += loser.lease_ms
    await Dispatcher(quick, clock).run_once()
    slow.may_answer.set()
    await asyncio.gather(*loser.in_flight.values())
    await loser.close()
    assert await log(message) == ["CREATED", "ACTIVE", "ERROR", "ACTIVE", "DELIVERED"]
    assert (await Event.objects.aget(state="ERROR")).error == LOST
    assert not await DeadLetter.objects.aexists()


async def test_delivery_that_ends_does_not_hide_a_later_one_of_the_same_message(clock):
    """PostgreSQL forgets a claim in a crash, and the dispatcher that made it lives on."""
    may_end, arrived = [asyncio.Event(), asyncio.Event()], []

    async def slow(_: object, message: Message, key: str) -> Outcome:
        arrived.append(message)
        await may_end[len(arrived) - 1].wait()
        return OK

    message, dispatcher = await published(), Dispatcher(slow, clock)
    await dispatcher.claim()
    first = dispatcher.in_flight[message.pk]
    undone = {"state": "CREATED", "claimed_by": "", "due_at": clock.now}
    await Message.objects.filter(pk=message.pk).aupdate(**undone)
    await dispatcher.claim()
    second = dispatcher.in_flight[message.pk]
    await until(lambda: len(arrived) == 2)
    may_end[0].set()
    await first
    assert dispatcher.in_flight == {message.pk: second}
    may_end[1].set()
    await second
    await dispatcher.close()
    assert (dispatcher.in_flight, dispatcher.hosts) == ({}, {})
    assert await log(message) == ["CREATED", "ACTIVE", "ACTIVE", "DELIVERED"]


async def test_retry_that_is_claimed_in_the_transaction_of_its_settlement_is_delivered(start):
    """A callback that is stored there has the dispatcher claim at once."""
    headers = {"Upstash-Callback": "http://target.test/done", "Upstash-Retry-Delay": "0"}
    message, attempts = read_message("http://target.test/", headers, b""), []

    async def fail_thrice(_: object, given: Message, key: str) -> Outcome:
        attempts.append(given.message_id)
        return ERROR if 0 < attempts.count(message.message_id) < 4 else OK

    dispatcher = start(fail_thrice)
    await writer.write(store, message)
    await until(lambda: attempts.count(message.message_id) == 4)
    await until(lambda: not dispatcher.in_flight)
    assert (await log(message))[-1] == "DELIVERED"


async def test_settlements_of_one_batch_do_not_mix(clock):
    fates = [
        (0, OK, "DELIVERED"),
        (0, ERROR, "FAILED"),
        (3, ERROR, "RETRY"),
        (3, HOPELESS, "FAILED"),
    ]
    wanted = {(await published(max_retries=n)).id: outcome for n, outcome, _ in fates}

    async def by_id(connections: object, message: Message, key: object) -> Outcome:
        return wanted[message.id]

    assert await Dispatcher(by_id, clock).run_once() == 4
    states = Message.objects.order_by("id").values_list("state", flat=True)
    assert [state async for state in states] == [state for *_, state in fates]
    assert await DeadLetter.objects.acount() == 2


# Running


type Start = Callable[..., Dispatcher]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Run dispatchers; stopped at the end of the test."""
    started: list[Dispatcher] = []

    def start(attempt: Callable, clock: Callable[[], int] | None = None) -> Dispatcher:
        dispatcher = Dispatcher(attempt, clock) if clock else Dispatcher(attempt)
        dispatcher.start()
        started.append(dispatcher)
        return dispatcher

    yield start
    for dispatcher in started:
        await dispatcher.stop(grace_seconds=0)


async def pulse_of(dispatcher: Dispatcher, seconds: float = 5) -> Pulse:
    """The first sign of life of a dispatcher; then it has begun to look for messages."""
    async with asyncio.timeout(seconds):
        while not (pulse := await Pulse.objects.filter(dispatcher=dispatcher.name).afirst()):
            await asyncio.sleep(0.01)
    return pulse


async def idle(dispatcher: Dispatcher) -> Dispatcher:
    """Wait until a dispatcher with nothing to do sleeps until its next pulse."""
    dispatcher.pulse_ms = 60_000
    await pulse_of(dispatcher)
    await writer.write(store, new_message(due_at=LATER))
    return dispatcher


async def test_publish_of_the_same_process_is_delivered_at_once(start):
    destination = Destination()
    await idle(start(destination))
    await published()
    await destination.get(seconds=1)


async def test_commit_of_another_process_is_noticed_without_a_pulse(start):
    destination = Destination()
    await idle(start(destination))
    message = await Message.objects.aget(due_at=LATER)
    await asyncio.to_thread(
        elsewhere, "UPDATE broker_message SET due_at = 1 WHERE id = %s", message.id
    )
    if connection.vendor == "postgresql":
        await asyncio.to_thread(elsewhere, "NOTIFY broker_due")
    await destination.get(seconds=5)


async def test_message_is_delivered_when_it_becomes_due(start):
    destination = Destination()
    dispatcher = await idle(start(destination))
    message = await published(due_at=dispatcher.clock() + 100)
    await destination.get(seconds=1)
    delivered = await Event.objects.aget(message=message, state="ACTIVE")
    assert delivered.time >= message.due_at


async def test_no_more_than_the_limit_are_in_flight(start, settings):
    settings.BROKER_CONCURRENCY = 2
    destination = Destination().hold()
    for _ in range(5):
        await published()
    dispatcher = start(destination)
    await destination.get(2)
    await idle(dispatcher)
    assert len(dispatcher.in_flight) == len(destination.messages) == 2
    destination.may_answer.set()
    await destination.get(3)


async def test_two_dispatchers_share_the_messages(start):
    destinations = [Destination(), Destination()]
    for destination in destinations:
        start(destination)
    ids = {(await published()).id for _ in range(20)}
    async with asyncio.timeout(5):
        while await Message.objects.exclude(state="DELIVERED").aexists():
            await asyncio.sleep(0.01)
    delivered = [message.id for destination in destinations for message in destination.messages]
    assert sorted(delivered) == sorted(ids)


async def test_slow_attempt_keeps_its_claim(start, settings):
    settings.BROKER_LEASE_SECONDS = 1
    destination, rival = Destination().hold(), Destination()
    message = await published()
    patient = start(destination)
    await destination.get()
    start(rival)
    first = (await Message.objects.aget()).due_at
    async with asyncio.timeout(5):
        while patient.clock() <= first:
            await asyncio.sleep(0.01)
    assert (await Message.objects.aget(pk=message.pk)).claimed_by == patient.name
    assert not rival.messages


async def test_stop_lets_what_is_in_flight_finish(start):
    destination = Destination().hold()
    message = await published()
    dispatcher = start(destination)
    await destination.get()
    asyncio.get_running_loop().call_later(0.05, destination.may_answer.set)
    await dispatcher.stop(grace_seconds=5)
    await message.arefresh_from_db()
    assert message.state == State.DELIVERED


async def test_stop_gives_back_what_does_not_finish(start):
    destination = Destination().hold()
    message = await published()
    dispatcher = start(destination)
    await destination.get()
    await dispatcher.stop(grace_seconds=0.05)
    await message.arefresh_from_db()
    assert (message.state, message.claimed_by) == (State.RETRY, "")
    assert message.retried == 0
    assert await Dispatcher(Destination()).run_once() == 1


async def test_stopped_dispatcher_claims_nothing_more(start):
    destination = Destination()
    dispatcher = start(destination)
    await pulse_of(dispatcher)
    dispatcher.stop_claiming()
    await dispatcher.loop_task
    await published()
    assert not destination.messages


async def test_stopped_dispatcher_leaves_no_pulse(start):
    dispatcher = start(Destination())
    await pulse_of(dispatcher)
    await dispatcher.stop()
    assert not await Pulse.objects.aexists()


async def test_pulse_tells_how_many_are_in_flight(start, clock):
    destination = Destination().hold()
    await published()
    dispatcher = start(destination, clock)
    await destination.get()
    clock.now = NOW + 5000  # the dispatcher itself looks at it, too
    await dispatcher.pulse(clock.now)
    pulse = await Pulse.objects.aget()
    assert (pulse.seen_at, pulse.in_flight) == (NOW + 5000, 1)


async def test_pulse_comes_early_when_nothing_is_in_flight(clock):
    """A pulse that is due when a message comes would delay it."""
    dispatcher = Dispatcher(destination := Destination().hold(), clock)
    dispatcher.pulse_ms = 20
    await dispatcher.turn()
    await published()
    clock.now = NOW + 16
    await dispatcher.turn()
    assert (len(dispatcher.in_flight), dispatcher.pulsed_at) == (1, NOW)
    destination.may_answer.set()
    await asyncio.gather(*dispatcher.in_flight.values())
    await dispatcher.turn()
    assert dispatcher.pulsed_at == NOW + 16
    await dispatcher.close()


async def test_early_pulse_tells_the_time_after_a_claim_that_took_long(clock, monkeypatch):
    dispatcher = Dispatcher(Destination(), clock)
    dispatcher.pulse_ms = 20
    await dispatcher.turn()

    async def slow_claim() -> tuple[list[Message], None]:
        clock.now += 5000
        return [], None

    monkeypatch.setattr(dispatcher, "claim", slow_claim)
    clock.now = NOW + 16
    await dispatcher.turn()
    pulse = await Pulse.objects.aget()
    assert (pulse.seen_at, dispatcher.pulsed_at) == (NOW + 5016, NOW + 5016)


async def test_pulse_that_is_due_does_not_wait_for_what_is_in_flight(clock):
    dispatcher = Dispatcher(destination := Destination().hold(), clock)
    dispatcher.pulse_ms = 20
    await dispatcher.turn()
    await published()
    await dispatcher.turn()
    clock.now = NOW + 20
    await dispatcher.turn()
    assert (len(dispatcher.in_flight), dispatcher.pulsed_at) == (1, NOW + 20)
    destination.may_answer.set()
    await asyncio.gather(*dispatcher.in_flight.values())
    await dispatcher.close()


async def test_pulse_is_never_late_for_what_is_in_flight(clock):
    dispatcher = Dispatcher(destination := Destination().hold(), clock)
    dispatcher.pulse_ms = 60_000
    await published()
    await dispatcher.claim()
    await dispatcher.pulse(NOW)
    clock.now = NOW + 59_990
    async with asyncio.timeout(5):
        await dispatcher.turn()  # wakes up when it is time
    destination.may_answer.set()
    await asyncio.gather(*dispatcher.in_flight.values())
    await dispatcher.close()


async def test_dispatcher_outlives_a_turn_that_raises(start, settings):
    destination = Destination()
    failures = [OSError("no clock")]

    def clock() -> int:
        if failures:
            raise failures.pop()
        return NOW

    start(destination, clock)
    while failures:
        await asyncio.sleep(0.001)
    await published()
    await destination.get(seconds=5)


async def test_connections_are_shared_and_closed_at_the_end(start):
    passed: list[Connections] = []

    async def attempt(connections: Connections, message: object, key: object) -> Outcome:
        passed.append(connections)
        return OK

    for _ in range(2):
        await published()
    dispatcher = Dispatcher(attempt)
    await dispatcher.run_once()
    assert len(set(passed)) == 1
    assert passed[0].closed


async def test_every_dispatcher_has_a_name_of_its_own():
    assert Dispatcher().name != Dispatcher().name


async def test_idle_dispatcher_claims_where_the_message_is_stored(start):
    dispatcher = start(destination := Destination().hold())
    await asyncio.sleep(0)  # it listens from its first step on
    message = await published()
    await message.arefresh_from_db()
    assert (message.state, message.claimed_by) == ("ACTIVE", dispatcher.name)
    await destination.get()
    destination.may_answer.set()


async def test_host_that_does_not_answer_leaves_room_for_others(settings):
    settings.BROKER_CONCURRENCY = 300
    silent = [published(url="http://silent.test/", host="silent.test") for _ in range(320)]
    await asyncio.gather(*silent)
    dispatcher = Dispatcher(destination := Destination().hold(), lambda: NOW)
    while (await dispatcher.claim())[0]:
        pass
    assert 150 <= len(dispatcher.in_flight) <= 200
    await published(url="http://lively.test/", host="lively.test")
    claimed, _ = await dispatcher.claim()
    assert [message.host for message in claimed] == ["lively.test"]
    destination.may_answer.set()
    await asyncio.gather(*dispatcher.in_flight.values())
    assert await dispatcher.run_once() >= 120


def test_process_that_delivers_may_open_many_files():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        open_files.allow_many()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == min(hard, open_files.MOST)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_lost_message_gets_its_turn_in_a_backlog():
    await asyncio.gather(*[published() for _ in range(3 * CLAIM_AT_ONCE)])
    lost = {"due_at": NOW - 1, "state": "ACTIVE", "claimed_by": "dead"}
    await asyncio.gather(*[published(**lost) for _ in range(CLAIM_AT_ONCE)])
    dispatcher = Dispatcher(destination := Destination().hold(), lambda: NOW)
    await dispatcher.pulse(NOW)
    claims = [await dispatcher.claim() for _ in range(3)]
    assert [len(claimed) for claimed, _ in claims] == [CLAIM_AT_ONCE] * 3
    assert await Event.objects.filter(error=LOST).acount() == CLAIM_AT_ONCE
    destination.may_answer.set()
    await asyncio.gather(*dispatcher.in_flight.values())


async def test_every_pulse_looks_for_what_was_lost(start):
    dispatcher = start(destination := Destination())
    await pulse_of(dispatcher)
    await until(lambda: not dispatcher.looks_at_rest)  # as it has when it started
    dispatcher.pulse_ms = 20
    await published(due_at=NOW - 1, state="ACTIVE", claimed_by="dead")
    await destination.get()


async def test_backlog_is_claimed_without_waiting_for_company(monkeypatch):
    """The other claims of a busy dispatcher wait a moment, to be committed with other writes."""
    waits: list[float] = []
    write = writer.write

    async def noting(what: Any, argument: Any, patience: float = 0, flush: bool = True) -> Any:
        if what is claim:
            waits.append(patience)
        return await write(what, argument, patience, flush)

    async def attempt(*message: object) -> Outcome:
        await over.wait()
        return OK

    for _ in range(CLAIM_AT_ONCE + 1):
        await published()
    monkeypatch.setattr(writer, "write", noting)
    over, dispatcher = asyncio.Event(), Dispatcher(attempt)
    for _ in range(3):
        await dispatcher.claim()
    over.set()
    await asyncio.gather(*dispatcher.in_flight.values())
    await dispatcher.close()
    assert waits == [0, 0, PATIENCE_SECONDS]
