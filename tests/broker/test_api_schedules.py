"""`/v2/schedules`: what is kept of a request, how it is shown, and what is refused."""

import asyncio
import hashlib
from typing import Any

import pytest

from broker.clock import now_ms
from broker.firing import next_moment, publish_due
from broker.models import Message, Schedule
from groupcommit.statements import one_by_one
from groupcommit.writer import writer
from tests.broker.calls import Clock, ask

pytestmark = pytest.mark.django_db(transaction=True)
# Nothing is written, so nothing has to be emptied.
refusal = pytest.mark.django_db

URL = "https://target.test/hook"
YEARLY = "0 0 1 1 *"
OTHER = {"token": "other-token", "current": "sig_a", "next": "sig_b"}
publish_now = one_by_one(publish_due)


@pytest.fixture
def other_token(settings) -> str:
    settings.BROKER_ACCOUNTS = settings.BROKER_ACCOUNTS | {"other": OTHER}
    return OTHER["token"]


async def create(destination: str = URL, body: bytes = b"", **options: str) -> str:
    """Create a schedule; `upstash_retries` stands for the header `Upstash-Retries`."""
    headers = {name.replace("_", "-"): value for name, value in options.items()}
    answer = await ask("POST", f"schedules/{destination}", body, {"upstash-cron": YEARLY} | headers)
    assert answer.status == 200, answer.json
    return answer.json["scheduleId"]


async def show(schedule_id: str) -> dict[str, Any]:
    return (await ask("GET", f"schedules/{schedule_id}")).json


async def trigger(schedule_id: str) -> list[Message]:
    """Let a schedule's next moment come; the messages it has published so far."""
    schedule = await Schedule.objects.aget(schedule_id=schedule_id)
    assert await writer.write(publish_now, schedule.next_at) == 1
    return [m async for m in Message.objects.filter(schedule_id=schedule_id).order_by("id")]


async def test_new_schedule_is_shown_with_what_every_schedule_has():
    before = now_ms()
    schedule_id = await create()
    assert schedule_id.startswith("scd_")
    schedule = await show(schedule_id)
    assert before <= schedule.pop("createdAt") <= now_ms()
    assert schedule == {
        "scheduleId": schedule_id,
        "destination": URL,
        "cron": YEARLY,
        "method": "POST",
        "retries": 3,
        "isPaused": False,
        "callerIP": "127.0.0.1",
        "callerIp": "127.0.0.1",
        "nextScheduleTime": next_moment(YEARLY, before),
    }


EVERY_OPTION = {
    "body": b"hi",
    "content_type": "text/x",
    "upstash_schedule_id": "mine",
    "upstash_method": "put",
    "upstash_retries": "7",
    "upstash_retry_delay": "1000 * retried",
    "upstash_delay": "1m30s",
    "upstash_timeout": "45s",
    "upstash_callback": "https://callback.test/",
    "upstash_callback_forward_a": "1",
    "upstash_failure_callback": "https://failure.test/",
    "upstash_failure_callback_forward_b": "2",
    "upstash_queue_name": "orders",
    "upstash_flow_control_key": "k",
    "upstash_flow_control_value": "parallelism=2, rate=3, period=1m",
    "upstash_label": "blue, green",
    "upstash_forward_my_header": "3",
    "upstash_telemetry_sdk": "sdk",
    "user_agent": "client",
    "x_own": "of the request",
}
EVERY_FIELD = {
    "scheduleId": "mine",
    "destination": URL,
    "cron": YEARLY,
    "method": "PUT",
    "header": {"Content-Type": ["text/x"], "My-Header": ["3"]},
    "body": "hi",
    "retries": 7,
    "retryDelayExpression": "1000 * retried",
    "delay": 90,
    "timeout": 45,
    "callback": "https://callback.test/",
    "callbackHeader": {"A": ["1"]},
    "failureCallback": "https://failure.test/",
    "failureCallbackHeader": {"B": ["2"]},
    "queueName": "orders",
    "flowControlKey": "k",
    "parallelism": 2,
    "rate": 3,
    "period": 60,
    "label": "blue",
    "labels": ["blue", "green"],
    "isPaused": False,
}


async def test_all_options_of_a_schedule_are_shown():
    schedule = await show(await create(**EVERY_OPTION))
    for name in ("createdAt", "nextScheduleTime", "callerIP", "callerIp"):
        schedule.pop(name)
    assert schedule == EVERY_FIELD


async def test_message_of_a_schedule_has_its_options():
    schedule_id = await create(
        body=b"\x00\xff",
        content_type="text/x",
        upstash_method="PUT",
        upstash_forward_a="1",
        upstash_label="l",
        upstash_queue_name="q",
    )
    (message,) = await trigger(schedule_id)
    assert (message.url, message.method, bytes(message.body)) == (URL, "PUT", b"\x00\xff")
    assert message.header == {"Content-Type": ["text/x"], "A": ["1"]}
    assert (message.label_list, message.queue_name) == (["l"], "q")
    shown = (await ask("GET", f"messages/{message.message_id}")).json
    assert shown["scheduleId"] == schedule_id


async def test_headers_of_the_request_are_forwarded_on_demand():
    given = {"x_own": "1", "upstash_forward_both": "ours", "both": "theirs"}
    schedule_id = await create(upstash_header_forward="true", user_agent="client", **given)
    expected = {"X-Own": ["1"], "Both": ["ours"]}
    assert (await show(schedule_id))["header"] == expected
    (message,) = await trigger(schedule_id)
    assert message.header == expected


async def test_token_is_not_kept():
    await create(upstash_header_forward="true")
    options = (await Schedule.objects.aget()).options
    assert "token-of" not in str(options)
    assert not {"upstash-cron", "authorization", "host"} & options.keys()


@pytest.mark.parametrize(
    "destination",
    [
        "https://a.test/x?b=1&c=%2F%20%C3%A9",
        "https://a.test//pause",
        "https://a.test/name/resume",
        "http://127.0.0.1:8000/",
    ],
)
async def test_destination_stays_as_it_was_sent(destination):
    schedule_id = await create(destination)
    assert (await show(schedule_id))["destination"] == destination
    assert (await trigger(schedule_id))[0].url == destination


async def test_options_may_be_in_the_query():
    answer = await ask("POST", f"schedules/{URL}?a=1&upstash-cron=1%202%20*%20*%20*")
    schedule = await show(answer.json["scheduleId"])
    assert (schedule["destination"], schedule["cron"]) == (f"{URL}?a=1", "1 2 * * *")


async def test_cron_is_trimmed():
    schedule_id = await create(upstash_cron="  CRON_TZ=Europe/Berlin 5 4 * * SUN ")
    assert (await show(schedule_id))["cron"] == "CRON_TZ=Europe/Berlin 5 4 * * SUN"


async def test_body_that_is_no_text_is_shown_in_base64():
    schedule = await show(await create(body=b"\xff"))
    assert (schedule["bodyBase64"], "body" in schedule) == ("/w==", False)


async def test_redacted_fields_are_not_shown_but_delivered():
    schedule_id = await create(
        body=b"secret",
        upstash_forward_a="secret",
        upstash_forward_b="open",
        upstash_redact_fields="body,header[a]",
    )
    schedule = await show(schedule_id)
    hidden = f"REDACTED:{hashlib.sha256(b'secret').hexdigest()}"
    assert (schedule["body"], schedule["header"]) == (hidden, {"A": [hidden], "B": ["open"]})
    (message,) = await trigger(schedule_id)
    assert (bytes(message.body), message.header["A"]) == (b"secret", ["secret"])


async def test_schedules_are_listed_in_order_of_creation():
    ids = [await create(upstash_schedule_id=name) for name in ("b", "a")]
    for path in ("schedules", "schedules/"):
        listed = (await ask("GET", path)).json
        assert [schedule["scheduleId"] for schedule in listed] == ids
    assert listed[0] == await show("b")


async def test_schedule_of_the_same_id_is_replaced_as_a_whole():
    await create(body=b"hi", upstash_schedule_id="mine", upstash_label="l")
    await trigger("mine")
    await ask("POST", "schedules/mine/pause")
    await create(f"{URL}/2", upstash_schedule_id="mine", upstash_cron="1 0 1 1 *")
    (schedule,) = (await ask("GET", "schedules")).json
    assert (schedule["destination"], schedule["cron"]) == (f"{URL}/2", "1 0 1 1 *")
    assert schedule["nextScheduleTime"] == next_moment("1 0 1 1 *", now_ms())
    assert not schedule["isPaused"]
    assert not {"body", "label", "lastScheduleTime", "lastScheduleStates"} & schedule.keys()


@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_pausing_and_resuming_can_be_repeated(method):
    await create(upstash_schedule_id="mine")
    upcoming = next_moment(YEARLY, now_ms())
    for verb, next_at in (("pause", None), ("pause", None), ("resume", upcoming)):
        for _ in range(2):
            assert (await ask(method, f"schedules/mine/{verb}")).status == 200
        schedule = await show("mine")
        assert (schedule["isPaused"], schedule.get("nextScheduleTime")) == (not next_at, next_at)


async def test_moments_of_a_pause_are_not_caught_up():
    await create(upstash_schedule_id="mine", upstash_cron="* * * * *")
    await ask("PATCH", "schedules/mine/pause")
    assert await writer.write(publish_now, Clock(3_600_000)()) == 0
    await ask("PATCH", "schedules/mine/resume")
    assert await writer.write(publish_now, now_ms()) == 0
    assert len(await trigger("mine")) == 1


async def test_deleted_schedule_leaves_its_messages():
    await create(upstash_schedule_id="mine")
    (message,) = await trigger("mine")
    for _ in range(2):
        assert (await ask("DELETE", "schedules/mine")).status == 200
    assert (await ask("GET", "schedules/mine")).status == 404
    assert (await ask("GET", f"messages/{message.message_id}")).status == 200


async def test_last_trigger_is_shown_with_what_became_of_its_messages():
    await ask("POST", "topics/g/endpoints", {"endpoints": [{"url": f"{URL}{n}"} for n in range(5)]})
    await create("g", upstash_schedule_id="mine")
    messages = await trigger("mine")
    ids = [message.message_id for message in messages]
    outcomes = ("DELIVERED", "FAILED", "CANCELED", "RETRY")
    for message_id, state in zip(ids, outcomes, strict=False):
        await Message.objects.filter(message_id=message_id).aupdate(state=state)
    schedule = await show("mine")
    assert schedule["lastScheduleTime"] == messages[0].created_at
    told = dict(zip(ids, ("SUCCESS", "FAIL", "FAIL", "IN_PROGRESS", "IN_PROGRESS"), strict=True))
    assert schedule["lastScheduleStates"] == told


async def test_trigger_that_failed_is_shown_with_its_reason():
    await ask("POST", "topics/g/endpoints", {"endpoints": [{"url": URL}]})
    await create("g", upstash_schedule_id="mine")
    await ask("DELETE", "topics/g")
    assert await trigger("mine") == []
    schedule = await show("mine")
    assert "scheme" in schedule["error"]
    assert "lastScheduleStates" not in schedule


async def test_schedule_is_shown_though_the_settings_allow_less_by_now(settings):
    await create(upstash_schedule_id="mine", upstash_retries="7")
    settings.BROKER_RETRIES = 5
    schedule = await show("mine")
    assert (schedule["cron"], "Upstash-Retries" in schedule["error"]) == (YEARLY, True)


@refusal
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"upstash_cron": ""}, "Upstash-Cron"),
        ({"upstash_cron": "* * * * * *"}, "Upstash-Cron"),
        ({"upstash_cron": "soon"}, "Upstash-Cron"),
        ({"upstash_cron": "0 0 31 2 *"}, "Upstash-Cron"),
        ({"upstash_cron": "0," * 200 + "0 * * * *"}, "Upstash-Cron"),
        ({"upstash_cron": "CRON_TZ=Nowhere * * * * *"}, "Upstash-Cron"),
        ({"upstash_schedule_id": "a b"}, "Upstash-Schedule-Id"),
        ({"upstash_schedule_id": "a" * 129}, "Upstash-Schedule-Id"),
        ({"upstash_queue_name": "a/b"}, "queue name"),
        ({"upstash_not_before": "1700000000"}, "Upstash-Not-Before"),
        ({"upstash_retries": "many"}, "Upstash-Retries"),
        ({"upstash_delay": "soon"}, "Upstash-Delay"),
        ({"upstash_callback": "nowhere"}, "Upstash-Callback"),
        ({"upstash_header_forward": "maybe"}, "Upstash-Header-Forward"),
        ({"upstash_content_based_deduplication": "maybe"}, "Deduplication"),
        ({"destination": "a.test"}, "scheme"),
        ({"destination": "ftp://a.test"}, "scheme"),
        ({"destination": "nobody"}, "scheme"),
    ],
)
async def test_wrong_schedule_is_refused(options, field):
    destination = options.pop("destination", URL)
    headers = {name.replace("_", "-"): value for name, value in options.items()}
    answer = await ask(
        "POST", f"schedules/{destination}", headers={"upstash-cron": YEARLY} | headers
    )
    assert (answer.status, field in answer.error) == (400, True), answer.error
    assert not await Schedule.objects.aexists()


async def test_body_over_the_limit_is_refused(settings):
    settings.BROKER_MESSAGE_BYTES = 5
    headers = {"Upstash-Cron": YEARLY}
    assert (await ask("POST", f"schedules/{URL}", b"123456", headers)).status == 413


async def test_one_schedule_too_many_is_refused(settings):
    settings.BROKER_SCHEDULES = 1
    await create(upstash_schedule_id="mine")
    answer = await ask("POST", f"schedules/{URL}", headers={"Upstash-Cron": YEARLY})
    assert (answer.status, answer.error) == (412, "quota maxSchedules exceeded: 1")
    await create(f"{URL}/2", upstash_schedule_id="mine")


async def test_unknown_schedule_is_not_found():
    for method, path in (("GET", ""), ("PATCH", "/pause"), ("POST", "/resume")):
        answer = await ask(method, f"schedules/nobody{path}")
        assert (answer.status, "nobody" in answer.error) == (404, True)


@refusal
@pytest.mark.parametrize("name", ["a%20b", "%00", "%FF", "a:b"])
async def test_impossible_id_is_refused(name):
    for method, path in (("GET", ""), ("DELETE", ""), ("PATCH", "/pause"), ("POST", "/pause")):
        answer = await ask(method, f"schedules/{name}{path}")
        assert answer.status in {400, 404}
        assert answer.error


async def test_schedule_of_another_account_is_out_of_reach(other_token):
    await create(upstash_schedule_id="mine")
    assert (await ask("GET", "schedules", token=other_token)).json == []
    for method, path in (("GET", ""), ("PATCH", "/pause"), ("POST", "/resume")):
        answer = await ask(method, f"schedules/mine{path}", token=other_token)
        assert answer.status == 404
    headers = {"Upstash-Cron": "* * * * *", "Upstash-Schedule-Id": "mine"}
    await ask("POST", f"schedules/{URL}", headers=headers, token=other_token)
    await ask("DELETE", "schedules/mine", token=other_token)
    schedule = await show("mine")
    assert (schedule["cron"], schedule["isPaused"]) == (YEARLY, False)


async def test_schedules_made_at_the_same_time_are_all_kept():
    ids = await asyncio.gather(*(create(upstash_schedule_id=f"s{n % 4}") for n in range(12)))
    assert set(ids) == {schedule["scheduleId"] for schedule in (await ask("GET", "schedules")).json}
