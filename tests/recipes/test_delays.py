"""A job that starts later: it waits in the queue, can be cancelled, and can be run again."""

from datetime import timedelta

import pytest
from django.test import AsyncClient
from django.utils import timezone

from broker.models import Message
from harness.sink import Sink
from jobs.models import Job
from tests.recipes.queue import HandQueue


@pytest.fixture
def target(sink: Sink, settings) -> Sink:
    """Where the requests of the visitors' jobs go."""
    settings.LONG_TASK_TARGET_URL = sink.url
    return sink


async def start(visitor: AsyncClient, **form: str) -> Job:
    answer = await visitor.post("/delay/start", form)
    assert (answer.status_code, answer["Location"]) == (303, "/delay")
    return await Job.objects.aget()


def test_page_explains_itself_before_the_first_click(client, db):
    page = client.get("/delay").text
    assert "Start in ten seconds" in page
    assert "async def remind" in page
    assert "The way of a job: an example" in page


async def test_job_is_queued_at_once_and_due_in_ten_seconds(async_client, transactional_db):
    before = timezone.now()
    job, message = await start(async_client), await Message.objects.aget()
    assert (job.status, job.message_id) == ("queued", message.message_id)
    assert timedelta(seconds=10) <= job.run_after - before < timedelta(seconds=20)
    assert message.not_before / 1000 >= job.run_after.timestamp()


async def test_waiting_job_is_shown_with_its_moment_and_can_be_cancelled(
    async_client, transactional_db
):
    await start(async_client)
    page = (await async_client.get("/delay")).text
    assert "scheduled" in page
    assert "Cancel" in page


async def test_job_runs_when_its_moment_has_come(async_client, transactional_db, target):
    job, queue = await start(async_client), HandQueue()
    assert await queue.run(ahead=8) == 0
    assert await queue.run(ahead=12) == 1
    await job.arefresh_from_db()
    assert (job.status, target.keys) == ("succeeded", [job.id])


async def test_cancelled_job_never_runs(async_client, transactional_db, target):
    job, queue = await start(async_client), HandQueue()
    await async_client.post(f"/jobs/{job.id}/cancel")
    assert await queue.run(ahead=60) == 0
    await job.arefresh_from_db()
    assert (job.status, target.requests) == ("cancelled", [])


async def test_failed_job_succeeds_when_it_is_run_again(async_client, transactional_db, target):
    job, queue = await start(async_client, fails="on"), HandQueue()
    await queue.run(ahead=12)
    await job.arefresh_from_db()
    assert (job.status, target.requests) == ("failed", [])
    assert "Run again" in (await async_client.get("/delay")).text

    await async_client.post(f"/jobs/{job.id}/publish")
    await queue.run(ahead=12)
    await job.arefresh_from_db()
    assert (job.status, len(job.messages), target.keys) == ("succeeded", 2, [job.id])


async def test_page_shows_no_other_visitors_jobs(async_client, transactional_db):
    job = await start(async_client)
    assert job.id in (await async_client.get("/delay")).text
    assert job.id not in (await AsyncClient().get("/delay")).text


async def test_page_without_scripts_asks_again_while_a_job_waits(async_client, transactional_db):
    refresh = 'http-equiv="refresh"'
    assert refresh not in (await async_client.get("/delay")).text
    job = await start(async_client)
    assert refresh in (await async_client.get("/delay")).text
    await async_client.post(f"/jobs/{job.id}/cancel")
    assert refresh not in (await async_client.get("/delay")).text


async def test_job_that_the_queue_does_not_take_is_on_the_page_with_the_reason(
    async_client, transactional_db, hosted
):
    hosted.answer(401, {"error": "invalid token"})
    assert (await start(async_client)).status == "not_sent"
    assert "Check QSTASH_TOKEN" in (await async_client.get("/delay")).text


async def test_click_without_a_site_address_says_what_to_set(
    async_client, transactional_db, settings
):
    settings.PUBLIC_URL = "nowhere"
    answer = await async_client.post("/delay/start")
    assert answer.status_code == 503
    assert "The queue refused the message" in answer.text


async def test_hosted_queue_gets_the_moment_in_a_header(async_client, transactional_db, hosted):
    job = await start(async_client)
    moment = int(hosted.asked[0]["headers"]["Upstash-Not-Before"])
    assert 0 <= moment - job.run_after.timestamp() < 1
