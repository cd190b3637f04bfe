"""What QStash's SDKs need of every answer; without it one of them breaks.

One message goes through every kind of answer here. The resources' own tests have the details,
tests/clients/ runs the SDKs themselves.
https://github.com/upstash/qstash-py and https://github.com/upstash/qstash-js
"""

from collections.abc import Iterator
from typing import Any

import pytest

from broker.dispatcher import Dispatcher
from broker.models import State
from tests.broker.calls import ask
from tests.broker.messages import ERROR, NO_ANSWER, OK, Destination

pytestmark = pytest.mark.django_db(transaction=True)

URL = "https://target.test/hook"
FLOW = {"Upstash-Flow-Control-Key": "k", "Upstash-Flow-Control-Value": "parallelism=1"}
ALL_STATES = {state.value for state in State}


async def get(target: str) -> Any:
    answer = await ask("GET", target)
    assert answer.status == 200, answer.body
    return answer.json


async def publish(target: str = f"publish/{URL}", **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await ask("POST", target, b"", given)
    assert answer.status == 200, answer.body
    return answer.json


async def everything() -> dict[str, Any]:
    """Make something of every kind, and ask for all of it."""
    await ask("POST", "topics/g/endpoints", {"endpoints": [{"url": URL}]})
    schedule = (await publish(f"schedules/{URL}", **{"Upstash-Cron": "* * * * *"}))["scheduleId"]
    await publish(**{"Upstash-Retries": "0"})
    await Dispatcher(Destination(NO_ANSWER)).run_once()
    message = (await publish(f"enqueue/q/{URL}"))["messageId"]
    return {
        "message": await get(f"messages/{message}"),
        "log": (await get("events"))["events"][0],
        "events": await get("events"),
        "letter": (await get("dlq"))["messages"][0],
        "dlq": await get("dlq"),
        "schedule": await get(f"schedules/{schedule}"),
        "schedules": await get("schedules"),
        "queue": await get("queues/q"),
        "queues": await get("queues"),
        "group": await get("topics/g"),
        "groups": await get("topics"),
    }


def values(found: Any) -> Iterator[Any]:
    """Every value in an answer, however deep."""
    inner = found.values() if isinstance(found, dict) else found if isinstance(found, list) else []
    for value in inner:
        yield value
        yield from values(value)


async def test_absent_fields_are_left_out_and_lists_are_always_lists():
    answers = await everything()
    assert None not in values(answers)
    assert "cursor" not in answers["events"] | answers["dlq"]
    assert (await get("events?messageId=msg_unknown")) == {"events": []}
    assert (await get("dlq?messageId=msg_unknown")) == {"messages": []}


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("message", "messageId url method maxRetries notBefore createdAt"),
        ("letter", "messageId url method maxRetries notBefore createdAt responseStatus"),
        ("log", "time messageId state url"),
        ("schedule", "scheduleId cron destination createdAt method retries"),
        ("queue", "name parallelism createdAt updatedAt lag paused"),
        ("group", "name createdAt updatedAt endpoints"),
    ],
)
async def test_fields_that_the_python_sdk_reads_are_always_there(kind, keys):
    answers = await everything()
    assert set(keys.split()) <= answers[kind].keys()
    assert answers["letter"]["responseStatus"] == 0


async def test_canceled_is_written_with_one_l_and_read_with_either():
    message = (await publish(**{"Upstash-Delay": "1h"}))["messageId"]
    await ask("DELETE", f"messages/{message}")
    for spelling in ("CANCELED", "CANCELLED"):
        [line] = (await get(f"events?state={spelling}"))["events"]
        assert (line["state"], line["messageId"]) == ("CANCELED", message)
    assert "CANCELLED" not in ALL_STATES


async def test_cancel_answers_with_json():
    message = (await publish(**{"Upstash-Delay": "1h"}))["messageId"]
    answer = await ask("DELETE", f"messages/{message}")
    assert answer.json == {"cancelled": 1}


async def test_forwarded_headers_come_back_with_canonical_names_and_as_lists():
    message = await publish(**{"upstash-forward-test-header": "a", "Upstash-Forward-RunId": "b"})
    header = (await get(f"messages/{message['messageId']}"))["header"]
    assert header == {"Test-Header": ["a"], "Runid": ["b"]}


async def test_flow_control_answers_false_and_zero_explicitly():
    await publish(**FLOW, **{"Upstash-Delay": "1h"})
    answer = await get("flowControl/k")
    assert (answer["isPaused"], answer["isPinnedParallelism"], answer["isPinnedRate"]) == (
        False,
        False,
        False,
    )
    assert (answer["waitListSize"], answer["rateCount"], answer["parallelismCount"]) == (0, 0, 0)
    await publish(f"enqueue/q/{URL}")
    assert (await get("queues/q"))["paused"] is False


async def test_flow_control_key_has_its_period_and_only_the_limits_that_are_set():
    message = (await publish(**FLOW))["messageId"]
    shown = await get(f"messages/{message}")
    assert (shown["flowControlKey"], shown["period"], shown["parallelism"]) == ("k", 1, 1)
    assert "rate" not in shown
    plain = await get(f"messages/{(await publish())['messageId']}")
    assert not {"flowControlKey", "period", "parallelism", "rate"} & plain.keys()


@pytest.mark.parametrize("outcome", [OK, ERROR])
async def test_message_stays_readable_after_its_end(outcome):
    message = (await publish(**{"Upstash-Retries": "0"}))["messageId"]
    assert await Dispatcher(Destination(outcome)).run_once() == 1
    assert (await get(f"messages/{message}"))["messageId"] == message
