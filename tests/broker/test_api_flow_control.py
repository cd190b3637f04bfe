"""`/v2/flowControl`: what a key reports, each of its verbs, and how the dispatcher obeys."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from broker.clock import now_ms
from broker.dispatcher import Dispatcher
from broker.models import FlowControl, Message
from broker.publishing import store_lists
from groupcommit.writer import writer
from tests.broker.calls import Clock, ask
from tests.broker.messages import Destination, new_message

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


async def publish(count: int = 1, key: str = "k", **limits: int) -> None:
    """Publish messages for a key, a second ago."""
    now = now_ms() - 1000
    times = {"created_at": now, "not_before": now, "due_at": now}
    limits = limits or {"parallelism": 100}
    messages = [
        new_message(flow_control_key=key, flow_control={"period": 1} | limits, **times)
        for _ in range(count)
    ]
    await writer.write(store_lists, messages)


async def change(verb: str, key: str = "k") -> None:
    answer = await ask("POST", f"flowControl/{key}/{verb}")
    assert (answer.status, answer.json) == (200, {})


async def show(key: str = "k") -> dict[str, Any]:
    answer = await ask("GET", f"flowControl/{key}")
    assert answer.status == 200
    return answer.json


class Run:
    """A dispatcher whose deliveries stay open until they are ended."""

    def __init__(self, clock: Clock) -> None:
        self.destination = Destination().hold()
        self.dispatcher = Dispatcher(self.destination, clock)

    async def started(self) -> int:
        """How many deliveries begin now."""
        return len((await self.dispatcher.claim())[0])

    async def end(self) -> None:
        """Let those that have begun end."""
        self.destination.may_answer.set()
        await asyncio.gather(*self.dispatcher.in_flight.values())
        self.destination.hold()
        await self.dispatcher.close()


@pytest.fixture
async def run(transactional_db, clock):
    run = Run(clock)
    yield run
    await run.end()


async def test_key_of_a_message_is_shown_with_all_its_fields():
    await publish(parallelism=5, rate=10, period=60)
    assert await show() == {
        "flowControlKey": "k",
        "waitListSize": 1,
        "parallelismMax": 5,
        "parallelismCount": 0,
        "rateMax": 10,
        "rateCount": 0,
        "ratePeriod": 60,
        "ratePeriodStart": 0,
        "isPaused": False,
        "isPinnedParallelism": False,
        "isPinnedRate": False,
    }


async def test_missing_limits_are_shown_as_zero():
    await publish(parallelism=5)
    key = await show()
    assert (key["parallelismMax"], key["rateMax"], key["ratePeriod"]) == (5, 0, 1)


async def test_counts_show_what_waits_runs_and_has_started(run):
    before = now_ms()
    await publish(3, parallelism=2, rate=9, period=3600)
    assert await run.started() == 2
    key = await show()
    assert (key["waitListSize"], key["parallelismCount"], key["rateCount"]) == (1, 2, 2)
    assert before // 1000 <= key["ratePeriodStart"] <= now_ms() // 1000
    await run.end()
    assert (await show())["parallelismCount"] == 0
    assert (await show())["rateCount"] == 2


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("a/b", "a/b"),
        ("a%20b", "a b"),
        ("a%2Fpause", "a/pause"),
        ("%C3%BC", "ü"),
        ("a//b/", "a//b/"),
        ("100%25", "100%"),
        ("%20a%20", "a"),
        ("pause", "pause"),
    ],
)
async def test_key_may_be_any_text(path, key):
    for verb in ("pause", "resume", "pin?rate=1"):
        await change(verb, path)
    assert (await FlowControl.objects.aget()).name == key
    assert (await show(path))["flowControlKey"] == key


async def test_key_of_a_publisher_is_found_by_its_path():
    headers = {"Upstash-Flow-Control-Key": "a/b c", "Upstash-Flow-Control-Value": "rate=1"}
    await ask("POST", "publish/https://target.test/", headers=headers)
    for path in ("a/b%20c", quote("a/b c", safe="")):
        assert (await show(path))["flowControlKey"] == "a/b c"


@refusal
@pytest.mark.parametrize("key", ["%00", "a%0Ab", "%FF", "%20", "k" * 256, "%ED%A0%80"])
async def test_impossible_key_is_refused(key):
    for method, verb in (("GET", ""), ("POST", "/pause")):
        answer = await ask(method, f"flowControl/{key}{verb}")
        assert (answer.status, bool(answer.error)) == (400, True)


async def test_unknown_key_is_not_found():
    answer = await ask("GET", "flowControl/nobody")
    assert (answer.status, "nobody" in answer.error) == (404, True)


@refusal
@pytest.mark.parametrize("path", ["k/stop", "k", "k/pause/", "/pause"])
async def test_unknown_verb_is_refused(path):
    answer = await ask("POST", f"flowControl/{path}")
    assert answer.status in {400, 404}
    assert answer.error
    assert not await FlowControl.objects.aexists()


async def test_keys_are_listed_by_name_and_searched():
    for key in ("b/2", "a%25", "c"):
        await change("pause", key)
    await publish(2, key="c")
    listed = (await ask("GET", "flowControl")).json
    assert [(key["flowControlKey"], key["waitListSize"]) for key in listed] == [
        ("a%", 0),
        ("b/2", 0),
        ("c", 2),
    ]
    for search, found in (("/", ["b/2"]), ("%25", ["a%"]), ("B", ["b/2"]), ("x", [])):
        listed = (await ask("GET", f"flowControl?search={search}")).json
        assert [key["flowControlKey"] for key in listed] == found


@refusal
@pytest.mark.parametrize("query", ["serch=k", "search=%00", "search=%FF"])
async def test_impossible_search_is_refused(query):
    assert (await ask("GET", f"flowControl/?{query}")).status == 400


async def test_paused_key_starts_nothing_until_it_is_resumed(run):
    await change("pause")
    await change("pause")
    await publish(2)
    assert (await run.started(), (await show())["isPaused"]) == (0, True)
    assert (await show())["waitListSize"] == 2
    await change("resume")
    await change("resume")
    assert (await run.started(), (await show())["isPaused"]) == (2, False)


async def test_pausing_leaves_the_limits_alone():
    await publish(parallelism=3, rate=4, period=5)
    await change("pause")
    key = await show()
    assert (key["parallelismMax"], key["rateMax"], key["ratePeriod"]) == (3, 4, 5)


async def test_pinned_values_hold_whatever_messages_say():
    await publish(parallelism=3, rate=20, period=120)
    await change("pin?parallelism=3&rate=20&period=120")
    await publish(parallelism=9, rate=9, period=9)
    key = await show()
    assert (key["parallelismMax"], key["rateMax"], key["ratePeriod"]) == (3, 20, 120)
    assert (key["isPinnedParallelism"], key["isPinnedRate"]) == (True, True)


@pytest.mark.parametrize(
    ("query", "values", "pinned"),
    [
        ("parallelism=3", (3, 9, 9), (True, False)),
        ("rate=3", (9, 3, 1), (False, True)),
        ("period=3", (9, 0, 3), (False, True)),
        ("rate=3&parallelism=4", (4, 3, 1), (True, True)),
    ],
)
async def test_any_part_can_be_pinned(query, values, pinned):
    await change(f"pin?{query}")
    await publish(parallelism=9, rate=9, period=9)
    key = await show()
    assert (key["parallelismMax"], key["rateMax"], key["ratePeriod"]) == values
    assert (key["isPinnedParallelism"], key["isPinnedRate"]) == pinned


async def test_unpinned_values_stay_until_a_message_says_otherwise():
    await change("pin?parallelism=3&rate=20&period=120")
    await change("unpin?parallelism=true&rate=false")
    key = await show()
    assert (key["parallelismMax"], key["isPinnedParallelism"]) == (3, False)
    assert (key["rateMax"], key["isPinnedRate"]) == (20, True)
    await publish(parallelism=9, rate=9, period=9)
    assert ((await show())["parallelismMax"], (await show())["rateMax"]) == (9, 20)
    await change("unpin?rate=true")
    assert not (await show())["isPinnedRate"]


@refusal
@pytest.mark.parametrize(
    ("verb", "field"),
    [
        ("pin", "parallelism"),
        ("pin?parallelism=0", "parallelism"),
        ("pin?parallelism=-1", "parallelism"),
        ("pin?parallelism=", "parallelism"),
        ("pin?rate=1.5", "rate"),
        ("pin?rate=%D9%A3", "rate"),
        ("pin?rate=2147483648", "rate"),
        ("pin?period=1m", "period"),
        ("pin?period=604801", "period"),
        ("pin?parallelsm=1", "parallelsm"),
        ("unpin?parallelism=1", "parallelism"),
        ("unpin?rates=true", "rates"),
        ("pause?now=1", "now"),
        ("resetRate?rate=1", "rate"),
    ],
)
async def test_wrong_values_are_refused(verb, field):
    answer = await ask("POST", f"flowControl/k/{verb}")
    assert (answer.status, field in answer.error) == (400, True)
    assert not await FlowControl.objects.aexists()


async def test_higher_pinned_parallelism_lets_more_go_at_once(run):
    await publish(3, parallelism=1)
    assert (await run.started(), await run.started()) == (1, 0)
    await change("pin?parallelism=3")
    assert await run.started() == 2


async def test_lower_pinned_parallelism_holds_for_what_has_not_started(run):
    await publish(4, parallelism=3)
    assert await run.started() == 3
    await change("pin?parallelism=1")
    assert await run.started() == 0
    await run.end()
    await publish(1, parallelism=3)
    assert (await run.started(), await run.started()) == (1, 0)


@pytest.mark.parametrize("verb", ["resetRate", "reset", "pin?rate=2"])
async def test_reset_starts_the_rate_again(run, verb):
    await publish(4, rate=2, period=3600)
    assert (await run.started(), await run.started()) == (2, 0)
    assert (await show())["rateCount"] == 2
    await change(verb)
    assert (await show())["rateCount"] == 0
    assert (await run.started(), await run.started()) == (2, 0)


async def test_reset_rate_begins_a_window_now():
    await publish(rate=2, period=3600)
    before = now_ms() // 1000
    await change("resetRate")
    assert before <= (await show())["ratePeriodStart"] <= now_ms() // 1000


async def test_rate_goes_on_when_its_window_is_over(run, clock):
    await publish(4, rate=2, period=60)
    assert await run.started() == 2
    clock.ahead_ms = 50_000
    assert await run.started() == 0
    clock.ahead_ms = 60_000
    assert await run.started() == 2


async def test_global_parallelism_counts_what_is_under_way(run, settings, other_token):
    await publish(2)
    await run.started()
    answer = await ask("GET", "globalParallelism")
    assert answer.json == {"parallelismMax": settings.BROKER_CONCURRENCY, "parallelismCount": 2}
    other = await ask("GET", "globalParallelism", token=other_token)
    assert other.json["parallelismCount"] == 0
    await run.end()
    assert (await ask("GET", "globalParallelism/")).json["parallelismCount"] == 0


async def test_key_of_another_account_is_out_of_reach(other_token):
    await publish(2, parallelism=1)
    assert (await ask("GET", "flowControl/k", token=other_token)).status == 404
    assert (await ask("GET", "flowControl", token=other_token)).json == []
    await ask("POST", "flowControl/k/pause", token=other_token)
    await ask("POST", "flowControl/k/pin?parallelism=9", token=other_token)
    key = (await ask("GET", "flowControl/k", token=other_token)).json
    assert (key["waitListSize"], key["parallelismMax"], key["isPaused"]) == (0, 9, True)
    key = await show()
    assert (key["waitListSize"], key["parallelismMax"], key["isPaused"]) == (2, 1, False)


async def test_finished_messages_are_not_counted(run):
    await publish(2)
    await run.started()
    await run.end()
    key = await show()
    assert (key["waitListSize"], key["parallelismCount"]) == (0, 0)
    assert await Message.objects.filter(state="DELIVERED").acount() == 2
