"""What is shown of a message: all that was published, but nothing that is redacted."""

import hashlib

import pytest

from broker.clock import now_ms
from broker.dispatcher import Dispatcher
from broker.models import Message
from broker.publishing import store
from groupcommit.writer import writer
from tests.broker.calls import ask
from tests.broker.messages import NOW, Destination, new_message

pytestmark = pytest.mark.django_db(transaction=True)

URL = "https://a.test/p?b=1,2"


async def publish(body: bytes = b"", url: str = URL, **options: str) -> str:
    """Publish over HTTP, not to be delivered yet; the message's id."""
    headers = {f"Upstash-{name.replace('_', '-')}": value for name, value in options.items()}
    answer = await ask("POST", f"publish/{url}", body, {"Upstash-Delay": "1h"} | headers)
    return answer.json["messageId"]


async def stored(**fields: object) -> Message:
    message = new_message(**fields)
    await writer.write(store, message)
    return message


async def get(message_id: str) -> dict[str, object]:
    answer = await ask("GET", f"messages/{message_id}")
    assert answer.status == 200, answer.body
    return answer.json


def sha256(text: str) -> str:
    return f"REDACTED:{hashlib.sha256(text.encode()).hexdigest()}"


async def test_message_without_options_has_no_empty_fields():
    message = await stored(max_retries=0)
    assert await get(message.message_id) == {
        "messageId": message.message_id,
        "url": "http://target.test/",
        "method": "POST",
        "maxRetries": 0,
        "notBefore": NOW,
        "createdAt": NOW,
    }


async def test_message_is_told_as_it_was_published():
    before = now_ms()
    told = await get(
        await publish(
            b"\xc3\xa9",
            Method="PUT",
            Retries="5",
            Retry_Delay="1000 * retried",
            Forward_my_header="1",
            Callback="https://back.test/",
            Callback_Forward_x_a="2",
            Callback_Retries="9",
            Failure_Callback="https://fail.test/",
            Failure_Callback_Forward_X_B="3",
            Flow_Control_Key="k",
            Flow_Control_Value="rate=2, period=1m",
            Label="one, two",
        )
    )
    assert before <= told["createdAt"] == told["notBefore"] - 3_600_000 <= now_ms()
    del told["createdAt"], told["notBefore"], told["messageId"]
    assert told == {
        "url": URL,
        "method": "PUT",
        "maxRetries": 5,
        "retryDelayExpression": "1000 * retried",
        "header": {"My-Header": ["1"]},
        "body": "é",
        "callback": "https://back.test/",
        "callbackHeader": {"X-A": ["2"]},
        "failureCallback": "https://fail.test/",
        "failureCallbackHeader": {"X-B": ["3"]},
        "flowControlKey": "k",
        "rate": 2,
        "period": 60,
        "label": "one",
        "labels": ["one", "two"],
        "callerIP": "127.0.0.1",
    }


async def test_message_tells_what_it_belongs_to():
    belongs = {"queue_name": "q", "schedule_id": "scd_1", "url_group": "g", "endpoint_name": "e"}
    told = await get((await stored(**belongs)).message_id)
    names = ("queueName", "scheduleId", "topicName", "endpointName")
    assert [told[name] for name in names] == ["q", "scd_1", "g", "e"]


async def test_flow_control_tells_the_limits_that_are_set():
    message = await stored(flow_control_key="k", flow_control={"parallelism": 3, "period": 1})
    told = await get(message.message_id)
    assert (told["flowControlKey"], told["parallelism"], told["period"]) == ("k", 3, 1)
    assert "rate" not in told


@pytest.mark.parametrize(
    ("body", "told"),
    [(b"", {}), (b'{"n":1}', {"body": '{"n":1}'}), (b"\xff", {"bodyBase64": "/w=="})],
)
async def test_body_is_told_as_text_or_base64(body, told):
    message = await get((await stored(body=body)).message_id)
    assert {name: message[name] for name in message if name.startswith("body")} == told


async def test_redacted_fields_are_not_shown():
    header = {"Forward-Authorization": "secret", "Forward-X": "1"}
    told = await get(await publish(b"\xff", Redact_Fields="body,header[authorization]", **header))
    assert told["body"] == f"REDACTED:{hashlib.sha256(b'\xff').hexdigest()}"
    assert "bodyBase64" not in told
    assert told["header"] == {"Authorization": [sha256("secret")], "X": ["1"]}


async def test_all_headers_can_be_redacted():
    callback = {"Callback": URL, "Callback_Forward_B": "2"}
    told = await get(await publish(Redact_Fields="headers", Forward_A="1", **callback))
    assert told["header"] == {"A": [sha256("1")]}
    assert told["callbackHeader"] == {"B": [sha256("2")]}


async def test_callback_can_redact_by_itself():
    callback = {"Callback_Redact_Fields": "header[B]", "Callback_Forward_B": "2"}
    told = await get(await publish(Callback=URL, Forward_B="1", **callback))
    assert told["header"] == {"B": ["1"]}
    assert told["callbackHeader"] == {"B": [sha256("2")]}


async def test_what_is_not_told_is_delivered():
    await stored(body=b"secret", header={"A": ["1"]}, redacted=["body", "header"])
    destination = Destination()
    await Dispatcher(destination, lambda: NOW).run_once()
    (message,) = destination.messages
    assert (bytes(message.body), message.header) == (b"secret", {"A": ["1"]})
