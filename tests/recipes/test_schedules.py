"""A schedule's runs: jobs of the visitor who made it, bounded in number and in time."""

import json
import re
from datetime import timedelta

import pytest
from django.core.signing import Signer
from django.test import AsyncClient
from django.utils import timezone

from broker.clock import now_ms
from broker.models import Message, Schedule
from harness.sink import Sink
from jobs.exceptions import PublishError
from jobs.models import Job
from recipes import schedules
from tests.recipes.queue import HandQueue

MINUTELY = {"cron": "* * * * *"}


@pytest.fixture
def target(sink: Sink, settings) -> Sink:
    """Where the requests of the visitors' jobs go."""
    settings.LONG_TASK_TARGET_URL = sink.url
    return sink


async def start(visitor: AsyncClient, **form: str):
    return await visitor.post("/schedule/start", MINUTELY | form)


async def test_schedule_is_at_the_queue(async_client, transactional_db):
    answer = await start(async_client)
    schedule = await Schedule.objects.aget()
    assert (answer.status_code, answer["Location"]) == (303, "/schedule")
    assert (schedule.cron, schedule.destination) == ("* * * * *", "http://testserver/api/tick")
    assert schedule.schedule_id.startswith("visitor-")


async def test_every_run_is_a_job_of_its_visitor(async_client, transactional_db, target):
    await start(async_client, cron="0 0 29 2 *")  # by itself it will not run during this test
    queue = HandQueue()
    for minute in (1, 2):
        await Schedule.objects.aupdate(next_at=now_ms() + minute * 60_000 - 30_000)
        assert await queue.run(ahead=minute * 60 - 20) == 1
    jobs = [job async for job in Job.objects.all()]
    assert [job.status for job in jobs] == ["succeeded"] * 2
    assert sorted(target.keys) == sorted(job.id for job in jobs)
    page = (await async_client.get("/schedule")).text
    assert all(f'id="job-{job.id}"' in page for job in jobs)
    assert jobs[0].id not in (await AsyncClient().get("/schedule")).text


def changes_of(page: str) -> str:
    """The URL that an open page asks for its news."""
    (url,) = re.findall(r'data-live="([^"]+)"', page)
    (version,) = re.findall(r'id="live"[^>]* data-version="([^"]+)"', page)
    return f"{url}?since={version}"


def next_moment(html: str) -> str:
    """What stands in the first schedule's row."""
    (shown,) = re.findall(r'<span id="next-1".*?</time>', html, re.DOTALL)
    return re.sub(r"\s+", " ", shown.replace(' hx-swap-oob="true"', ""))


async def test_new_run_tells_an_open_page_when_the_next_one_comes(
    async_client, transactional_db, target
):
    await start(async_client, cron="0 0 29 2 *")
    url = changes_of((await async_client.get("/schedule")).text)
    await Schedule.objects.aupdate(cron="0 0 28 2 *", next_at=now_ms())
    assert (await async_client.get(url)).status_code == 204
    assert await HandQueue().run(ahead=1) == 1
    page, news = (await async_client.get("/schedule")).text, (await async_client.get(url)).text
    assert 'id="next-1" class="hint" hx-swap-oob="true"' in news
    assert next_moment(news) == next_moment(page)
    assert "-02-28 " in next_moment(news)
    assert (await async_client.get(changes_of(page))).status_code == 204


async def test_step_of_a_known_run_leaves_the_schedules_alone(
    async_client, transactional_db, target
):
    await start(async_client, cron="0 0 29 2 *")
    await async_client.post("/schedule/1/run")
    url = changes_of((await async_client.get("/schedule")).text)
    assert await HandQueue().run() == 1
    news = (await async_client.get(url)).text
    assert "succeeded" in news
    assert "next-1" not in news


async def test_page_whose_runs_are_all_gone_is_told_so(async_client, transactional_db, target):
    await start(async_client, cron="0 0 29 2 *")
    await async_client.post("/schedule/1/run")
    url = changes_of((await async_client.get("/schedule")).text)
    await Job.objects.all().adelete()
    assert (await async_client.get(url)).status_code == 200


async def test_news_of_a_run_comes_though_the_queue_cannot_be_asked(
    async_client, transactional_db, target, monkeypatch
):
    await start(async_client, cron="0 0 29 2 *")
    url = changes_of((await async_client.get("/schedule")).text)
    await async_client.post("/schedule/1/run")

    async def unknown(*args):
        raise PublishError("The queue cannot be reached.")

    monkeypatch.setattr(schedules, "kept_by", unknown)
    news = (await async_client.get(url)).text
    assert 'id="job-' in news
    assert "next-1" not in news


async def test_paused_schedule_publishes_nothing_until_it_is_resumed(
    async_client, transactional_db, target
):
    await start(async_client)
    await async_client.post("/schedule/1/pause")
    assert "paused" in (await async_client.get("/schedule")).text
    assert await HandQueue().run(ahead=90) == 0
    await async_client.post("/schedule/1/resume")
    assert (await Schedule.objects.aget()).next_at
    assert "paused" not in (await async_client.get("/schedule")).text


async def test_run_now_is_a_job_at_once(async_client, transactional_db, target):
    await start(async_client, cron="0 0 1 1 *")
    answer = await async_client.post("/schedule/1/run")
    assert (answer.status_code, answer["Location"]) == (303, "/schedule")
    assert await HandQueue().run() == 1
    job = await Job.objects.aget()
    assert (job.status, target.keys) == ("succeeded", [job.id])


async def test_deleted_schedule_is_gone_from_the_queue(async_client, transactional_db):
    await start(async_client)
    await async_client.post("/schedule/1/delete")
    assert not await Schedule.objects.aexists()
    assert 'id="schedule-1"' not in (await async_client.get("/schedule")).text


async def test_fourth_schedule_is_refused_until_one_is_deleted(async_client, transactional_db):
    for _ in range(schedules.MOST):
        await start(async_client)
    refused = await start(async_client)
    assert refused.status_code == 409
    assert "You have 3 schedules already. Delete one first." in refused.text
    await async_client.post("/schedule/2/delete")
    assert (await start(async_client)).status_code == 303
    assert await Schedule.objects.acount() == 3


async def test_other_visitor_can_neither_see_nor_touch_a_schedule(async_client, transactional_db):
    await start(async_client)
    other = AsyncClient()
    assert 'id="schedule-1"' not in (await other.get("/schedule")).text
    await other.post("/schedule/1/delete")
    await other.post("/schedule/1/pause")
    assert (await other.post("/schedule/1/run")).status_code == 404
    schedule = await Schedule.objects.aget()
    assert not schedule.paused
    assert not await Job.objects.aexists()


async def test_schedule_ends_with_its_first_run_after_a_day(
    async_client, transactional_db, target, settings
):
    await start(async_client)
    schedule = await Schedule.objects.aget()
    payload = json.loads(bytes(schedule.body))
    payload["args"][2] = (timezone.now() - timedelta(minutes=1)).isoformat()
    await Schedule.objects.aupdate(
        body=json.dumps(payload).encode(), created_at=now_ms() - 25 * 3600 * 1000
    )
    await HandQueue().run(ahead=60)
    assert (await Job.objects.aget()).status == "succeeded"
    assert not await Schedule.objects.aexists()


async def test_run_of_an_old_schedule_leaves_a_new_one_under_its_id_alone(
    async_client, transactional_db
):
    await start(async_client)
    schedule = await Schedule.objects.aget()
    await schedules.end_old(schedule.schedule_id, timezone.now())
    assert await Schedule.objects.aexists()


async def test_paused_schedule_that_is_a_day_old_makes_room_for_anybodys_new_one(
    async_client, transactional_db
):
    await start(async_client)
    await async_client.post("/schedule/1/pause")
    await Schedule.objects.aupdate(created_at=now_ms() - 25 * 3600 * 1000)
    other = AsyncClient()
    await start(other)
    (left,) = [schedule async for schedule in Schedule.objects.all()]
    assert not left.paused


async def test_schedules_that_are_not_the_examples_are_left_alone(async_client, transactional_db):
    await Schedule.objects.acreate(
        account="site", schedule_id="nightly", cron="0 0 * * *", created_at=1, destination="x"
    )
    await start(async_client)
    assert await Schedule.objects.filter(schedule_id="nightly").aexists()


# Whose job it is.


async def test_owner_stands_sealed_in_the_message(async_client, transactional_db):
    await start(async_client)
    schedule = await Schedule.objects.aget()
    owner = json.loads(bytes(schedule.body))["owner"]
    session_owner = async_client.session["visitor"]
    assert owner.startswith(session_owner)
    assert owner != session_owner


@pytest.mark.parametrize("seal", ["somebody", "somebody:", Signer(salt="x").sign("somebody"), 7])
async def test_owner_that_this_site_has_not_sealed_is_refused(deliver, transactional_db, seal):
    moment = timezone.now().isoformat()
    payload = {"args": ["http://target.test/", "visitor-x-1", moment], "owner": seal}
    answer = await deliver("/api/tick", payload)
    assert (answer.status_code, await Job.objects.acount()) == (489, 0)


# What the queue says.


async def test_hosted_queue_is_asked_for_what_the_visitor_does(
    async_client, transactional_db, hosted
):
    hosted.usual = (200, {}, "[]")
    hosted.answers += [(200, {}, "[]"), (200, {}, "[]"), (200, {}, '{"scheduleId": "x"}')]
    await start(async_client)
    *_, made = hosted.asked
    name = schedules.id_of(async_client.session["visitor"], 1)
    assert made["line"] == "POST /v2/schedules/http://testserver/api/tick"
    assert made["headers"]["Upstash-Cron"] == "* * * * *"
    assert made["headers"]["Upstash-Schedule-Id"] == name
    for action in ("pause", "resume", "delete"):
        await async_client.post(f"/schedule/1/{action}")
    assert [asked["line"] for asked in hosted.asked[-3:]] == [
        f"PATCH /v2/schedules/{name}/pause",
        f"PATCH /v2/schedules/{name}/resume",
        f"DELETE /v2/schedules/{name}",
    ]


async def test_page_lives_without_the_hosted_queues_answer(async_client, transactional_db, hosted):
    hosted.answer(500, {"error": "on fire"})
    page = await async_client.get("/schedule")
    assert "Your schedules are not known. QStash answered HTTP 500: on fire" in page.text


async def test_queue_that_takes_no_schedule_is_quoted(async_client, transactional_db, settings):
    settings.BROKER_SCHEDULES = 0
    answer = await start(async_client)
    assert answer.status_code == 503
    assert "quota maxSchedules exceeded" in answer.text
    assert not await Message.objects.aexists()
