"""`/v2/queues`: created, changed, listed, deleted, and how the dispatcher obeys."""

import asyncio

import pytest

from broker.clock import now_ms
from broker.dispatcher import Dispatcher
from broker.models import Message, Queue
from broker.publishing import store_lists
from groupcommit.writer import writer
from tests.broker.calls import Clock, ask
from tests.broker.messages import ERROR, Destination, new_message

pytestmark = pytest.mark.django_db(transaction=True)
# Nothing is written, so no table has to be emptied.
refusal = pytest.mark.django_db

OTHER = {"token": "other-token", "current": "sig_a", "next": "sig_b"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def other_token(settings) -> str:
    settings.BROKER_ACCOUNTS = settings.BROKER_ACCOUNTS | {"other": OTHER}
    return OTHER["token"]


async def upsert(name: str = "q", **values: object) -> None:
    answer = await ask("POST", "queues", {"queueName": name} | values)
    assert (answer.status, answer.json) == (200, {})


async def show(name: str = "q") -> dict[str, object]:
    return (await ask("GET", f"queues/{name}")).json


async def enqueue(count: int, **fields: object) -> list[Message]:
    """Put messages with bodies 0, 1, 2, … into the queue, a second ago."""
    now = now_ms() - 1000
    times = {"created_at": now, "not_before": now, "due_at": now, "queue_name": "q"}
    messages = [new_message(body=b"%d" % n, **times | fields) for n in range(count)]
    await writer.write(store_lists, messages)
    return messages


async def deliver(destination: Destination, ahead_ms: int = 0) -> list[bytes]:
    """Let a dispatcher deliver what may go; the bodies in order."""
    await Dispatcher(destination, Clock(ahead_ms)).run_once()
    return [bytes(message.body) for message in destination.messages]


async def test_new_queue_is_shown_with_all_its_fields():
    before = now_ms()
    await upsert(parallelism=2, paused=False)
    queue = await show()
    assert before <= queue.pop("createdAt") <= queue.pop("updatedAt") <= now_ms()
    assert queue == {"name": "q", "parallelism": 2, "lag": 0, "paused": False}


async def test_what_is_not_given_stays_as_it_is():
    await upsert()
    await upsert(parallelism=3)
    await upsert(paused=True)
    queue = await show()
    assert (queue["parallelism"], queue["paused"]) == (3, True)


async def test_enqueuing_makes_a_queue_of_parallelism_1():
    answer = await ask("POST", "enqueue/q/https://target.test/")
    assert answer.status == 200
    queue = await show()
    assert (queue["parallelism"], queue["lag"], queue["paused"]) == (1, 1, False)


async def test_enqueuing_leaves_a_queue_as_it_is():
    await upsert(parallelism=7, paused=True)
    await ask("POST", "enqueue/q/https://target.test/")
    queue = await show()
    assert (queue["parallelism"], queue["lag"], queue["paused"]) == (7, 1, True)


async def test_queues_are_listed_in_order_of_creation():
    for name in ("b", "a"):
        await upsert(name)
    for path in ("queues", "queues/"):
        assert [queue["name"] for queue in (await ask("GET", path)).json] == ["b", "a"]


async def test_lag_counts_what_is_not_over():
    await upsert("other")
    await enqueue(3)
    await deliver(Destination(ERROR))
    assert [queue["lag"] for queue in (await ask("GET", "queues")).json] == [0, 3]
    await deliver(Destination(), ahead_ms=60_000)
    assert (await show())["lag"] == 0


async def test_lag_counts_callbacks_too():
    callback = "https://callback.test/"
    await enqueue(1, callback=callback)
    dispatcher = Dispatcher(destination := Destination(), Clock())
    await dispatcher.claim()
    await asyncio.gather(*dispatcher.in_flight.values())
    assert (await show())["lag"] == 1
    await dispatcher.run_once()
    assert [message.url for message in destination.messages][1:] == [callback]
    assert (await show())["lag"] == 0


@refusal
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "queueName"),
        (b"[]", "queueName"),
        (b"{", "JSON"),
        ({}, "queueName"),
        ({"queueName": 1}, "queueName"),
        ({"queueName": "a b"}, "queueName"),
        ({"queueName": ""}, "queueName"),
        ({"queueName": "q", "parallelism": 0}, "parallelism"),
        ({"queueName": "q", "parallelism": -1}, "parallelism"),
        ({"queueName": "q", "parallelism": 1.5}, "parallelism"),
        ({"queueName": "q", "parallelism": True}, "parallelism"),
        ({"queueName": "q", "parallelism": "2"}, "parallelism"),
        ({"queueName": "q", "parallelism": 2**31}, "parallelism"),
        ({"queueName": "q", "paused": 1}, "paused"),
    ],
)
async def test_wrong_queue_is_refused(body, field):
    answer = await ask("POST", "queues", body)
    assert (answer.status, field in answer.error) == (400, True)
    assert not await Queue.objects.aexists()


@refusal
@pytest.mark.parametrize("path", ["queues/%2e%20", "queues/%00", "queues/%ff", "queues/a%0ab"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_impossible_name_is_refused(path, method):
    answer = await ask(method, path)
    assert answer.status in {400, 404}
    assert answer.error


async def test_unknown_queue_is_not_found():
    for method, path in (("GET", ""), ("POST", "/pause"), ("POST", "/resume")):
        answer = await ask(method, f"queues/nobody{path}")
        assert (answer.status, "nobody" in answer.error) == (404, True)


async def test_one_queue_too_many_is_refused(settings):
    settings.BROKER_QUEUES = 2
    await upsert("a")
    await upsert("b")
    answer = await ask("POST", "queues", {"queueName": "c"})
    assert (answer.status, answer.error) == (412, "quota maxQueues exceeded: 2")
    assert (await ask("POST", "enqueue/c/https://target.test/")).status == 412
    await upsert("a", parallelism=2)
    await ask("DELETE", "queues/b")
    await upsert("c")


async def test_pausing_and_resuming_can_be_repeated():
    await upsert(parallelism=2)
    for verb, paused in (("pause", True), ("pause", True), ("resume", False), ("resume", False)):
        assert (await ask("POST", f"queues/q/{verb}")).status == 200
        assert (await show())["paused"] is paused
    assert (await show())["parallelism"] == 2


async def test_paused_queue_delivers_nothing_until_it_is_resumed():
    await upsert(paused=True)
    await enqueue(2)
    assert await deliver(Destination()) == []
    await ask("POST", "queues/q/resume")
    assert await deliver(Destination()) == [b"0", b"1"]


async def test_message_for_a_key_waits_too_while_its_queue_is_paused():
    await ask("POST", "flowControl/k/pause")
    await enqueue(2, flow_control_key="k", flow_control={"rate": 9})
    assert await deliver(Destination()) == []  # by now the first one waits for its key
    await ask("POST", "queues/q/pause")
    await ask("POST", "flowControl/k/resume")
    assert await deliver(Destination()) == []
    await ask("POST", "queues/q/resume")
    assert await deliver(Destination()) == [b"0", b"1"]


async def test_lower_parallelism_holds_for_whatever_has_not_started(clock):
    await upsert(parallelism=3)
    await enqueue(5)
    destination = Destination().hold()
    dispatcher = Dispatcher(destination, clock)
    assert len((await dispatcher.claim())[0]) == 3
    await upsert(parallelism=1)
    assert (await dispatcher.claim())[0] == []
    destination.may_answer.set()
    await asyncio.gather(*dispatcher.in_flight.values())
    assert len((await dispatcher.claim())[0]) == 1
    assert (await dispatcher.claim())[0] == []
    await asyncio.gather(*dispatcher.in_flight.values())
    assert await dispatcher.run_once() == 1


async def test_lower_parallelism_holds_for_whoever_waits_for_a_key(clock):
    await ask("POST", "flowControl/k/pause")
    await upsert(parallelism=3)
    await enqueue(5, flow_control_key="k", flow_control={"rate": 9})
    dispatcher = Dispatcher(destination := Destination(), clock)
    assert (await dispatcher.claim())[0] == []  # by now three wait for the key
    await upsert(parallelism=1)
    await ask("POST", "flowControl/k/resume")
    for _ in range(5):
        assert len((await dispatcher.claim())[0]) == 1
        await asyncio.gather(*dispatcher.in_flight.values())
    await dispatcher.close()
    assert [bytes(message.body) for message in destination.messages] == [
        b"%d" % n for n in range(5)
    ]


async def test_higher_parallelism_lets_more_go_at_once(clock):
    await enqueue(3)
    destination = Destination().hold()
    dispatcher = Dispatcher(destination, clock)
    assert len((await dispatcher.claim())[0]) == 1
    await upsert(parallelism=3)
    assert len((await dispatcher.claim())[0]) == 2
    destination.may_answer.set()
    await asyncio.gather(*dispatcher.in_flight.values())
    await dispatcher.close()


async def test_empty_queue_is_gone_once_it_is_deleted():
    await upsert()
    for _ in range(2):
        assert (await ask("DELETE", "queues/q")).status == 200
    assert (await ask("GET", "queues/q")).status == 404
    assert not await Queue.objects.aexists()


async def test_messages_of_a_deleted_queue_are_delivered_in_order():
    await upsert(paused=True)
    await enqueue(3)
    await ask("DELETE", "queues/q")
    assert (await ask("GET", "queues/q")).status == 404
    assert (await ask("GET", "queues")).json == []
    assert (await ask("POST", "queues/q/pause")).status == 404
    assert await deliver(Destination()) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("revive", ["upsert", "enqueue"])
async def test_deleted_queue_with_messages_comes_back_as_a_new_one(revive):
    await upsert(parallelism=9, paused=True)
    await enqueue(1)
    await ask("DELETE", "queues/q")
    if revive == "upsert":
        await upsert()
    else:
        await ask("POST", "enqueue/q/https://target.test/")
    queue = await show()
    assert (queue["parallelism"], queue["paused"]) == (1, False)
    assert queue["lag"] == (1 if revive == "upsert" else 2)


async def test_queue_of_another_account_is_out_of_reach(other_token):
    await upsert(parallelism=4)
    assert (await ask("GET", "queues", token=other_token)).json == []
    for method, path in (("GET", ""), ("POST", "/pause"), ("POST", "/resume")):
        answer = await ask(method, f"queues/q{path}", token=other_token)
        assert answer.status == 404
    await ask("DELETE", "queues/q", token=other_token)
    await ask("POST", "queues", {"queueName": "q", "parallelism": 9}, token=other_token)
    assert (await show())["parallelism"] == 4


async def test_changes_made_at_the_same_time_all_succeed():
    changes = [{"queueName": f"q{n % 3}", "parallelism": n + 1} for n in range(12)]
    answers = await asyncio.gather(*(ask("POST", "queues", change) for change in changes))
    assert {answer.status for answer in answers} == {200}
    assert len((await ask("GET", "queues")).json) == 3
