"""A callback: the queue reports each answer, signed, and the report has a job of its own."""

import base64
import json

import pytest
from django.urls import reverse

from broker.models import Message
from jobs.models import Job
from recipes import callbacks
from tests.recipes.queue import HandQueue


async def start(visitor, **form: str) -> Job:
    answer = await visitor.post("/callback/start", form)
    assert (answer.status_code, answer["Location"]) == (303, "/callback")
    return await Job.objects.aget()


@pytest.fixture
def report(job) -> dict:
    """What the queue says of the first answer to a job's message."""
    source = json.dumps({"job_id": job.id, "args": [], "kwargs": {}}).encode()
    return {
        "status": 200,
        "body": base64.b64encode(b'{"success": true}').decode(),
        "retried": 0,
        "sourceMessageId": "msg_1",
        "sourceBody": base64.b64encode(source).decode(),
    }


def test_callback_is_where_the_task_says():
    assert reverse("receive_callback") == callbacks.bake.callback == "/api/callback"


def test_page_explains_itself_before_the_first_click(client, db):
    page = client.get("/callback").text
    assert page.count("The way of a job: an example") == 2
    assert "async def receive_callback" in page


async def test_message_names_its_callback(async_client, transactional_db):
    await start(async_client)
    assert (await Message.objects.aget()).callback == "http://testserver/api/callback"


async def test_hosted_queue_gets_the_callback_in_a_header(async_client, transactional_db, hosted):
    await start(async_client)
    assert hosted.asked[0]["headers"]["Upstash-Callback"] == "http://testserver/api/callback"


async def test_answer_is_reported_and_belongs_to_the_jobs_owner(async_client, transactional_db):
    job, queue = await start(async_client), HandQueue()
    await queue.run()
    await queue.run()
    assert queue.answers == [("/api/bake", 200), ("/api/callback", 200)]
    answer = await Job.objects.exclude(id=job.id).aget()
    assert (answer.owner, answer.args) == (job.owner, [job.id, 1, 200, '{"success": true}'])
    page = (await async_client.get("/callback")).text
    assert "attempt 1 was answered with HTTP 200: {&quot;success&quot;: true}" in page


async def test_attempt_that_fails_is_reported_too(async_client, transactional_db):
    job, queue = await start(async_client, fails="on"), HandQueue()
    for ahead in (0, 0, 5, 5):
        await queue.run(ahead)
    told = Job.objects.filter(task=callbacks.take_answer.module_path).order_by("created_at")
    assert [each.args[:3] async for each in told] == [[job.id, 1, 503], [job.id, 2, 200]]
    await job.arefresh_from_db()
    assert (job.status, job.steps_done) == ("succeeded", 3)


async def test_callback_that_comes_twice_is_noted_once(job, deliver, report):
    for _ in range(2):
        answer = await deliver("/api/callback", report, **{"Upstash-Message-Id": "msg_report"})
        assert answer.status_code == 200
    noted = await Job.objects.aget(id=Job.id_for_message("msg_report"))
    assert [step["text"] for step in noted.log] == [
        'attempt 1 was answered with HTTP 200: {"success": true}'
    ]


async def test_unsigned_callback_is_refused(async_client, job, report):
    answer = await async_client.post("/api/callback", report, content_type="application/json")
    assert answer.status_code == 403
    assert await Job.objects.acount() == 1


async def test_signed_task_message_for_another_url_is_no_callback(job, deliver, report):
    signature = {"Upstash-Signature": "not.a.signature"}
    assert (await deliver("/api/callback", report, **signature)).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"sourceBody": "no base64"},
        {"sourceBody": base64.b64encode(b"[]").decode()},
        {"sourceBody": None},
        {"status": None},
        {"status": 1e999},
        {"body": 7},
    ],
    ids=str,
)
async def test_report_that_can_never_work_is_refused_for_good(job, deliver, report, change):
    answer = await deliver("/api/callback", report | change)
    assert (answer.status_code, answer["Upstash-NonRetryable-Error"]) == (489, "true")


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"{}"])
async def test_body_that_is_no_report_is_refused_for_good(transactional_db, deliver, body):
    assert (await deliver("/api/callback", body)).status_code == 489


async def test_report_on_an_unknown_job_is_refused_for_good(job, deliver, report):
    await Job.objects.all().adelete()
    answer = await deliver("/api/callback", report)
    assert (answer.status_code, answer.json()) == (489, {"error": "there is no such job"})


async def test_long_or_binary_answer_is_cut_and_made_readable(job, deliver, report):
    body = base64.b64encode(b"\0\xff" + b"x" * 10_000).decode()
    await deliver("/api/callback", report | {"body": body})
    noted = await Job.objects.aget(id=Job.id_for_message("msg_1"))
    assert noted.args[3] == "\N{REPLACEMENT CHARACTER}" + "x" * (callbacks.LONGEST_ANSWER - 1)


async def test_page_shows_no_other_visitors_callbacks(async_client, job, deliver, report):
    await deliver("/api/callback", report)
    assert "attempt 1 was answered" not in (await async_client.get("/callback")).text


async def test_both_ways_have_their_answers_after_a_reload(async_client, transactional_db):
    await start(async_client)
    queue = HandQueue()
    await queue.run()
    await queue.run()
    page = (await async_client.get("/callback")).text
    assert page.count("HTTP 200</strong>") == 2
    assert "reports the answer" in page
