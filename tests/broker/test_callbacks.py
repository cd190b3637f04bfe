"""Callbacks: a report after every attempt, and another one when all have failed."""

import base64
import json
import shutil
import subprocess
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from broker.delivery import Outcome
from broker.dispatcher import Dispatcher
from broker.models import DeadLetter, Message, Queue
from broker.options import checked_options
from broker.publishing import Publication, messages_for, publish
from tests.broker.messages import ERROR, NO_ANSWER, NOW, OK, Destination
from tests.conftest import skip_or_fail

pytestmark = pytest.mark.django_db(transaction=True)

TARGET, CALLBACK = "http://target.test/hook", "http://callback.test/a%2Fb"


async def deliver(*outcomes: Any, **headers: str) -> Destination:
    """Publish to the target, and deliver the message and all its callbacks."""
    options = {name.replace("_", "-"): value for name, value in headers.items()}
    publication = Publication(TARGET, checked_options(options), b"\x00\xff", caller_ip="127.0.0.1")
    [message] = messages_for(publication, NOW)
    await sync_to_async(publish)(message)
    destination = Destination(*outcomes)
    await Dispatcher(destination, lambda: NOW).run_once()
    return destination


def reports(destination: Destination) -> list[dict[str, Any]]:
    told = [message for message in destination.messages if message.url == CALLBACK]
    return [json.loads(message.body) for message in told]


async def test_delivery_is_reported():
    destination = await deliver(OK, upstash_callback=CALLBACK)
    assert [message.url for message in destination.messages] == [TARGET, CALLBACK]
    [report] = reports(destination)
    assert (report["status"], report["body"], report["retried"]) == (200, "", 0)


async def test_every_attempt_is_reported():
    destination = await deliver(
        ERROR, upstash_callback=CALLBACK, upstash_retries="1", upstash_retry_delay="0"
    )
    statuses = [(report["status"], report["retried"]) for report in reports(destination)]
    assert statuses == [(500, 0), (200, 1)]


async def test_failure_is_reported_as_documented():
    destination = await deliver(
        ERROR,
        upstash_failure_callback=CALLBACK,
        upstash_retries="0",
        content_type="text/plain",
        upstash_forward_x="1",
    )
    source, letter = destination.messages[0], await DeadLetter.objects.aget()
    assert reports(destination) == [
        {
            "status": 500,
            "header": {"X-A": ["1"]},
            "body": base64.b64encode(b"oops").decode(),
            "retried": 0,
            "maxRetries": 0,
            "sourceMessageId": source.message_id,
            "url": TARGET,
            "method": "POST",
            "sourceHeader": {"X": ["1"], "Content-Type": ["text/plain"]},
            "sourceBody": base64.b64encode(b"\x00\xff").decode(),
            "notBefore": NOW,
            "createdAt": NOW,
            "callerIP": "127.0.0.1",
            "dlqId": letter.dlq_id,
        }
    ]


async def test_failure_without_an_answer_has_status_zero():
    destination = await deliver(NO_ANSWER, upstash_failure_callback=CALLBACK, upstash_retries="0")
    [report] = reports(destination)
    assert (report["status"], report["header"], report["body"]) == (0, {}, "")


async def test_success_does_not_call_the_failure_callback():
    destination = await deliver(OK, upstash_failure_callback=CALLBACK)
    assert reports(destination) == []


async def test_callback_has_options_of_its_own():
    await deliver(
        OK,
        upstash_callback=CALLBACK,
        upstash_callback_method="PUT",
        upstash_callback_forward_x="1",
        upstash_callback_unknown="ignored",
    )
    callback = await Message.objects.aget(url=CALLBACK)
    assert (callback.method, callback.max_retries) == ("PUT", 3)
    assert callback.header == {"X": ["1"], "Content-Type": ["application/json"]}


async def test_callback_is_tried_as_often_as_its_message():
    await deliver(OK, upstash_callback=CALLBACK, upstash_retries="7")
    assert (await Message.objects.aget(url=CALLBACK)).max_retries == 7


async def test_callback_may_have_a_callback():
    last = "http://last.test/"
    destination = await deliver(OK, upstash_callback=CALLBACK, upstash_callback_callback=last)
    assert [message.url for message in destination.messages] == [TARGET, CALLBACK, last]


async def test_failing_failure_callback_reports_to_nobody():
    await deliver(
        ERROR,
        ERROR,
        upstash_failure_callback=CALLBACK,
        upstash_retries="0",
    )
    assert await DeadLetter.objects.acount() == await Message.objects.acount() == 2


async def test_callback_does_not_show_what_its_message_redacts():
    await deliver(OK, upstash_callback=CALLBACK, upstash_redact_fields="header[X]")
    assert (await Message.objects.aget(url=CALLBACK)).redacted == ["body"]


async def test_callback_asks_for_no_more_retries_than_are_allowed_now(settings):
    settings.BROKER_RETRIES = 50
    await deliver(OK, upstash_callback=CALLBACK, upstash_callback_retries="50")
    assert (await Message.objects.aget(url=CALLBACK)).max_retries == 50


@pytest.mark.parametrize("blank", ["", " ", "  "])
@pytest.mark.parametrize("option", ["upstash_callback", "upstash_failure_callback"])
async def test_blank_retries_of_a_callback_are_those_of_its_message(option, blank):
    headers = {option: CALLBACK, f"{option}_retries": blank}
    await deliver(ERROR, upstash_retries="0", **headers)
    assert (await Message.objects.aget(url=CALLBACK)).max_retries == 0


async def test_queue_whose_place_is_taken_still_gets_its_callbacks(settings):
    settings.BROKER_QUEUES = 1
    options = checked_options({"upstash-callback": CALLBACK})
    publication = Publication(TARGET, options, b"", queue_name="deleted")
    [message] = messages_for(publication, NOW)
    await sync_to_async(publish)(message)

    async def delete_and_answer(session: object, message: Message, key: str) -> Outcome:
        if message.url == TARGET:
            await Queue.objects.filter(name="deleted").aupdate(deleted=True)
            await Queue.objects.acreate(account="site", name="other")
        return OK

    assert await Dispatcher(delete_and_answer, lambda: NOW).run_once() == 2
    states = Message.objects.values_list("state", flat=True)
    assert [state async for state in states] == ["DELIVERED", "DELIVERED"]


async def test_body_is_as_javascript_would_write_it_again():
    """As receivers that parse it, and write it again before they verify it, expect."""
    answer = Outcome(200, {"X-Name": ["Zo\u00eb \u4e16"]}, b"", "")
    await deliver(answer, upstash_callback=CALLBACK, upstash_forward_name="Zo\u00eb")
    body = bytes((await Message.objects.aget(url=CALLBACK)).body)
    assert "Zo\u00eb \u4e16".encode() in body
    if not (node := shutil.which("node")):
        skip_or_fail("node is missing; enable with: apt-get install nodejs")
    program = "const fs = require('fs');" + (
        "process.stdout.write(JSON.stringify(JSON.parse(fs.readFileSync(0, 'utf8'))))"
    )
    written = subprocess.run([node, "-e", program], input=body, capture_output=True, check=True)
    assert written.stdout == body
