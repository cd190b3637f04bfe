"""`/v2/events` and `/v2/logs`: what the log says of each attempt, filtered and in pages."""

import base64
import hashlib

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from broker.api.events import read_log_query, tell
from broker.api.pages import Place, read_page
from broker.dispatcher import Dispatcher
from broker.models import Event, Message
from broker.publishing import store
from groupcommit.writer import writer
from tests.broker.calls import ask
from tests.broker.messages import ERROR, NO_ANSWER, NOW, OK, Destination, new_message

pytestmark = pytest.mark.django_db(transaction=True)

ON_SQLITE = "sqlite" in settings.DATABASES["default"]["ENGINE"]
OTHER = {"token": "other-token", "current": "sig_a", "next": "sig_b"}


@pytest.fixture
def other_token(settings) -> str:
    settings.BROKER_ACCOUNTS = settings.BROKER_ACCOUNTS | {"other": OTHER}
    return OTHER["token"]


async def stored(**fields: object) -> Message:
    message = new_message(**fields)
    await writer.write(store, message)
    return message


async def attempted(outcome: object = ERROR, **fields: object) -> Message:
    """A message after its first attempt."""
    message = await stored(**fields)
    await Dispatcher(Destination(outcome), lambda: NOW).run_once()
    return message


async def events(query: str = "") -> list[dict[str, object]]:
    answer = await ask("GET", f"events{query}")
    assert answer.status == 200, answer.body
    return answer.json["events"]


async def test_log_is_listed_newest_line_first():
    await attempted()
    assert [line["state"] for line in await events()] == ["RETRY", "ERROR", "ACTIVE", "CREATED"]
    assert [line["state"] for line in await events("?order=earliestFirst&count=2")] == [
        "CREATED",
        "ACTIVE",
    ]


async def test_line_has_no_empty_fields():
    message = await stored(max_retries=0)
    assert await events() == [
        {
            "time": NOW,
            "messageId": message.message_id,
            "state": "CREATED",
            "url": "http://target.test/",
            "method": "POST",
            "maxRetries": 0,
        }
    ]


async def test_failed_attempt_is_listed_with_its_answer():
    await attempted()
    line = (await events())[1]
    assert (line["error"], line["responseStatus"]) == ("HTTP 500", 500)
    assert line["responseHeader"] == line["responseHeaders"] == {"X-A": ["1"]}
    assert base64.b64decode(line["responseBody"]) == b"oops"


async def test_attempt_without_an_answer_has_an_error_only():
    await attempted(NO_ANSWER)
    line = (await events())[1]
    assert (line["state"], line["error"]) == ("ERROR", "no answer within 5 s")
    assert not [name for name in line if name.startswith("response")]


async def test_next_delivery_is_shown_in_milliseconds():
    await attempted(retry_delay_expression="500")
    assert (await events())[0]["nextDeliveryTime"] == NOW + 500


async def test_every_line_repeats_what_was_published():
    message = await attempted(
        header={"X": ["1"]},
        body=b"\xff",
        labels=",a,b,",
        caller_ip="::1",
        retry_delay_expression="1",
        timeout_seconds=2,
        schedule_id="scd_1",
        url_group="g",
        endpoint_name="e",
        callback="https://back.test/",
        callback_header={"upstash-forward-x-y": ["2"], "upstash-retries": ["0"]},
        failure_callback="https://fail.test/",
        failure_callback_header={"upstash-forward-z": ["3"]},
    )
    for line in await events(f"?messageId={message.message_id}"):
        assert (
            line
            | {
                "messageId": message.message_id,
                "header": {"X": ["1"]},
                "body": "/w==",
                "label": "a",
                "labels": ["a", "b"],
                "callerIP": "::1",
                "retryDelayExpr": "1",
                "retryDelayExpression": "1",
                "timeout": 2000,
                "scheduleId": "scd_1",
                "topicName": "g",
                "endpointName": "e",
                "callback": "https://back.test/",
                "callbackHeaders": {"X-Y": ["2"]},
                "failureCallback": "https://fail.test/",
                "failureCallbackHeaders": {"Z": ["3"]},
            }
            == line
        )


async def test_flow_control_is_shown():
    limits = {"rate": 3, "period": 60}
    await stored(queue_name="q", flow_control_key="k", flow_control=limits)
    (line,) = await events()
    names = ("queueName", "flowControlKey", "rate", "period")
    assert [line[name] for name in names] == ["q", "k", 3, 60]
    assert "parallelism" not in line


async def test_redacted_fields_are_not_shown():
    await attempted(header={"A": ["1"], "B": ["2"]}, body=b"me", redacted=["body", "header[A]"])
    body, header = (hashlib.sha256(value).hexdigest() for value in (b"me", b"1"))
    for line in await events():
        assert line["body"] == f"REDACTED:{body}"
        assert line["header"] == {"A": [f"REDACTED:{header}"], "B": ["2"]}


async def test_log_has_its_documented_name_too():
    await stored()
    answer = (await ask("GET", "logs?count=1")).json
    assert answer["logs"] == answer["events"] == await events()


async def test_lines_are_filtered():
    await stored(message_id="msg_a", labels=",a,")
    flow_control = {"flow_control_key": "k", "flow_control": {"rate": 1, "period": 1}}
    fields = {"url": "https://a.test/p?b=1,2", "host": "a.test", "path": "/p", "caller_ip": "::1"}
    fields |= {"url_group": "g", "queue_name": "q", "schedule_id": "scd_1", "labels": ",b,"}
    await stored(message_id="msg_b", created_at=NOW + 5, **fields, **flow_control)
    for query in (
        "messageId=msg_b",
        "messageIds=msg_b&messageIds=msg_x",
        "messageIds=msg_b,msg_x&label=a",
        "url=https%3A%2F%2Fa.test%2Fp%3Fb%3D1%2C2",
        "topicName=g",
        "queueName=q",
        "scheduleId=scd_1",
        "label=b&label=c",
        "flowControlKey=k",
        "host=a.test",
        "path=/p",
        "callerIp=::1",
        "callerIP=::1",
        f"fromDate={NOW + 5}&toDate={NOW + 5}",
        "messageId=msg_a,msg_b&label=b",
    ):
        assert [line["label"] for line in await events(f"?{query}")] == ["b"], query
    assert await events("?label=b&queueName=x") == []


async def test_lines_are_filtered_by_state():
    message = await attempted()
    await ask("DELETE", f"messages/{message.message_id}")
    await stored()
    for state, told in (
        ("CREATED", ["CREATED", "CREATED"]),
        ("IN_PROGRESS", ["RETRY", "ERROR", "ACTIVE"]),
        ("CANCELLED", ["CANCELED"]),
        ("CANCELED,CANCEL_REQUESTED", ["CANCELED", "CANCEL_REQUESTED"]),
        ("DELIVERED", []),
    ):
        assert [line["state"] for line in await events(f"?state={state}")] == told


async def test_log_of_an_unknown_message_is_empty():
    await stored()
    for query in ("?messageId=msg_unknown", "?messageIds=msg_unknown"):
        assert (await ask("GET", f"events{query}")).json == {"events": []}


@pytest.mark.parametrize(("order", "told"), [("latestFirst", "43210"), ("earliestFirst", "01234")])
async def test_pages_follow_each_other_without_gaps(order, told):
    for number in range(5):
        await stored(message_id=f"msg_{number}", created_at=NOW + number)
    for query in ("", "&messageIds=msg_0,msg_1,msg_2,msg_3,msg_4"):
        pages, cursor = [], ""
        while not pages or cursor:
            answer = await ask("GET", f"events?count=2&order={order}&cursor={cursor}{query}")
            pages.append("".join(line["messageId"][-1] for line in answer.json["events"]))
            cursor = answer.json.get("cursor")
        assert pages == [told[:2], told[2:4], told[4:]]


async def test_full_page_without_another_has_no_cursor():
    await stored(), await stored()
    last = await Event.objects.order_by("id").afirst()
    assert (await ask("GET", "events?count=1")).json["cursor"].startswith(f"{NOW}-")
    assert "cursor" not in (await ask("GET", "events?count=2")).json
    assert (await ask("GET", f"events?cursor={NOW}-{last.id}")).json == {"events": []}


@pytest.mark.parametrize(("room", "length"), [(10, 2), (9, 1), (1, 1), (15, 3)])
def test_page_ends_early_when_its_bodies_are_large(room, length):
    for _ in range(3):
        store([new_message(body=b"12345")])
    page = read_page(Event.objects.all(), "time", Place(100), room)
    assert (len(page.keys), page.cursor is None) == (length, length == 3)


@pytest.mark.skipif(not ON_SQLITE, reason="PostgreSQL reads tables as small as this one whole")
@pytest.mark.parametrize("query", [{}, {"cursor": ["1-999999999"]}, {"messageId": ["msg_a"]}])
def test_page_is_found_by_indexes_alone(query):
    store([new_message(message_id="msg_a")])
    with CaptureQueriesContext(connection) as asked:
        assert tell(read_log_query("site", query))["events"]
    with connection.cursor() as cursor:
        for question in asked:
            cursor.execute(f"EXPLAIN QUERY PLAN {question['sql']}")
            plan = str(cursor.fetchall())
            assert "SEARCH" in plan
            assert "SCAN" not in plan and "TEMP B-TREE" not in plan


async def test_wrong_filter_is_refused_by_its_name():
    for query, name in (
        ("labeel=a", "labeel"),
        ("dlqIds=1-1", "dlqIds"),
        ("state=LOST", "state"),
        ("order=random", "order"),
        ("count=x", "count"),
        ("count=0", "count"),
        ("count=1&count=2", "count"),
        ("cursor=1", "cursor"),
        ("cursor=1-99999999999999999999", "cursor"),
        ("fromDate=x", "fromDate"),
        ("messageId=%00", "messageId"),
        ("label=", "label"),
    ):
        answer = await ask("GET", f"events?{query}")
        assert answer.status == 400, query
        assert name in answer.error


async def test_log_of_another_account_is_out_of_reach(other_token):
    message = await attempted(OK)
    for target in ("events", "logs", f"events?messageId={message.message_id}"):
        assert (await ask("GET", target, token=other_token)).json["events"] == []
    assert len(await events()) == 3


async def test_log_is_refused_without_the_token():
    assert (await ask("GET", "events", token="wrong")).status == 401
    assert (await ask("GET", "events?qstash_token=wrong", token="")).status == 401
