"""One message to a group becomes three, each delivered and tried again by itself."""

import json

from django.test import AsyncClient

from broker.models import Message, UrlGroup
from jobs.models import Job
from recipes.url_groups import RECEIVERS, group_name
from tests.recipes.queue import HandQueue

GROUP = "order-testserver"
URLS = [f"http://testserver/api/{task.endpoint}" for task in RECEIVERS]
SENT = [{"messageId": f"msg_{number}", "url": url} for number, url in enumerate(URLS)]


async def order(visitor: AsyncClient) -> list[Job]:
    """Place an order; the three jobs, in the order of the receivers."""
    answer = await visitor.post("/url-group/start")
    assert (answer.status_code, answer["Location"]) == (303, "/url-group")
    jobs = {job.task: job async for job in Job.objects.all()}
    return [jobs[task.module_path] for task in RECEIVERS]


async def statuses(jobs: list[Job]) -> list[str]:
    for job in jobs:
        await job.arefresh_from_db()
    return [job.status for job in jobs]


def test_page_explains_itself_before_the_first_click(client, db):
    page = client.get("/url-group").text
    assert page.count("The way of a job: an example") == 3
    assert all(f"/api/{task.endpoint}" in page for task in RECEIVERS)
    assert GROUP in page


async def test_one_click_makes_three_messages_of_one_body(async_client, transactional_db):
    await order(async_client)
    messages = [message async for message in Message.objects.order_by("id")]
    assert sorted(message.url for message in messages) == sorted(URLS)
    assert len({bytes(message.body) for message in messages}) == 1
    assert {message.url_group for message in messages} == {GROUP}


async def test_three_jobs_are_on_the_page_before_a_message_arrives(async_client, transactional_db):
    jobs = await order(async_client)
    page = (await async_client.get("/url-group")).text
    assert [job.status for job in jobs] == ["queued"] * 3
    assert all(f'id="job-{job.id}"' in page for job in jobs)


async def test_slow_receiver_and_one_that_fails_twice_hold_up_nobody(
    async_client, transactional_db
):
    jobs, queue = await order(async_client), HandQueue()
    await queue.run()
    assert await statuses(jobs) == ["succeeded", "succeeded", "waiting"]
    await queue.run(ahead=30)
    await queue.run(ahead=60)
    assert await statuses(jobs) == ["succeeded"] * 3
    assert [job.attempts for job in jobs] == [1, 1, 3]
    assert [job.steps_done for job in jobs] == [1, 6, 1]


async def test_message_that_is_faster_than_its_publisher_gets_the_same_job(
    async_client, transactional_db
):
    """Each job's id is that of its message, so whoever comes first stores it."""
    jobs = await order(async_client)
    await Job.objects.all().adelete()
    await HandQueue().run()
    stored = [job async for job in Job.objects.all()]
    assert {job.id for job in stored} == {job.id for job in jobs}
    assert {job.owner for job in stored} == {jobs[0].owner}


async def test_only_the_newest_orders_messages_stand_side_by_side(async_client, transactional_db):
    first = await order(async_client)
    await Job.objects.aupdate(task="old", owner="")
    second = await order(async_client)
    page = (await async_client.get("/url-group")).text
    assert all(f"The way of job {job.id[:8]}" in page for job in second)
    assert not any(job.id in page for job in first)


async def test_group_is_changed_and_not_made_again(async_client, transactional_db):
    await order(async_client)
    await order(async_client)
    group = await UrlGroup.objects.aget()
    assert (group.name, await group.endpoints.acount()) == (GROUP, 3)


async def test_page_shows_no_other_visitors_orders(async_client, transactional_db):
    (job, *_) = await order(async_client)
    assert job.id not in (await AsyncClient().get("/url-group")).text


def test_name_of_a_group_is_one_that_a_queue_takes():
    assert group_name("http://127.0.0.1:8000") == "order-127.0.0.1-8000"
    assert len(group_name(f"https://{'a' * 300}.example.com")) == 128


async def test_hosted_queue_is_told_the_group_and_sends_to_it(
    async_client, transactional_db, hosted
):
    hosted.answer(200, "{}")
    hosted.answer(200, SENT)
    jobs = await order(async_client)
    assert [asked["line"] for asked in hosted.asked] == [
        f"POST /v2/topics/{GROUP}/endpoints",
        f"POST /v2/publish/{GROUP}",
    ]
    endpoints = json.loads(hosted.asked[0]["body"])["endpoints"]
    assert [endpoint["url"] for endpoint in endpoints] == URLS
    assert [job.message_id for job in jobs] == ["msg_0", "msg_1", "msg_2"]


async def test_queue_that_says_no_is_quoted_and_nothing_is_stored(
    async_client, transactional_db, hosted
):
    hosted.answer(429, "")
    answer = await async_client.post("/url-group/start")
    assert answer.status_code == 503
    assert "QStash&#x27;s limit is used up" in answer.text
    assert not await Job.objects.aexists()


async def test_group_with_other_endpoints_besides_is_no_problem(
    async_client, transactional_db, hosted
):
    hosted.answer(200, "{}")
    hosted.answer(200, [*SENT, {"messageId": "msg_other", "url": "https://other.example.com/"}])
    assert len(await order(async_client)) == 3


async def test_each_way_has_its_answer_after_a_reload(async_client, transactional_db):
    await order(async_client)
    queue = HandQueue()
    await queue.run()
    page = (await async_client.get("/url-group")).text
    assert page.count("HTTP 200</strong>") == 2
    assert "answered “try again later”" in page
