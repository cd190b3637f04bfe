"""`GET /v2/events`: the log on the wire."""

import base64

import pytest
from django.conf import settings
from django.test import AsyncClient

from broker.dispatcher import Dispatcher
from broker.models import Message
from broker.publishing import store
from groupcommit.writer import writer
from tests.broker.messages import ERROR, NOW, Destination, new_message

pytestmark = pytest.mark.django_db(transaction=True)

TOKEN = {"Authorization": f"Bearer {settings.BROKER_TOKEN}"}


async def get(query: str = ""):
    return await AsyncClient().get(f"/v2/events{query}", headers=TOKEN)


async def failed_once(**fields: object) -> Message:
    """A message after its first attempt."""
    message = new_message(**fields)
    await writer.write(store, message)
    await Dispatcher(Destination(ERROR), lambda: NOW).run_once()
    return message


async def test_log_is_told_newest_line_first():
    await failed_once()
    lines = (await get()).json()["events"]
    assert [line["state"] for line in lines] == ["RETRY", "ERROR", "ACTIVE", "CREATED"]


async def test_line_without_anything_to_tell_has_no_empty_fields():
    message = new_message(max_retries=0)
    await writer.write(store, message)
    assert (await get()).json()["events"] == [
        {
            "time": NOW,
            "messageId": message.message_id,
            "state": "CREATED",
            "url": "http://target.test/",
            "method": "POST",
            "maxRetries": 0,
        }
    ]


async def test_failed_attempt_is_told_with_its_answer():
    await failed_once()
    line = (await get()).json()["events"][1]
    assert (line["error"], line["responseStatus"]) == ("HTTP 500", 500)
    assert line["responseHeader"] == line["responseHeaders"] == {"X-A": ["1"]}
    assert base64.b64decode(line["responseBody"]) == b"oops"


async def test_next_delivery_is_told_in_milliseconds():
    await failed_once(retry_delay_expression="500")
    assert (await get()).json()["events"][0]["nextDeliveryTime"] == NOW + 500


async def test_every_line_repeats_what_was_published():
    fields = {"header": {"X": ["1"]}, "labels": ["a", "b"], "caller_ip": "::1", "body": b"\xff"}
    await failed_once(**fields, retry_delay_expression="1")
    for line in (await get()).json()["events"]:
        assert (line["label"], line["labels"], line["callerIP"]) == ("a", ["a", "b"], "::1")
        assert (line["header"], base64.b64decode(line["body"])) == ({"X": ["1"]}, b"\xff")
        assert line["retryDelayExpr"] == line["retryDelayExpression"] == "1"


async def test_log_of_one_message_is_told():
    message, other = await failed_once(), await failed_once()
    lines = (await get(f"?messageId={message.message_id}")).json()["events"]
    assert {line["messageId"] for line in lines} == {message.message_id}
    assert message.message_id != other.message_id


async def test_log_of_an_unknown_message_is_empty():
    assert (await get("?messageId=msg_unknown")).json() == {"events": []}


async def test_unknown_filter_is_refused_by_its_name():
    response = await get("?labeel=a")
    assert response.status_code == 400
    assert "labeel" in response.json()["error"]


@pytest.mark.parametrize("query", ["", "?qstash_token=wrong"])
async def test_who_does_not_know_the_token_is_told_nothing(query):
    assert (await AsyncClient().get(f"/v2/events{query}")).status_code == 401


async def test_token_may_stand_in_the_query():
    path = f"/v2/events?qstash_token={settings.BROKER_TOKEN}"
    assert (await AsyncClient().get(path)).status_code == 200
