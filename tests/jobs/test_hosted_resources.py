"""Schedules and URL groups of hosted QStash: what it is asked, and how its answers are read."""

import json

import pytest

from jobs.exceptions import Refused
from jobs.hosted_resources import HostedResources
from jobs.qstash import QStash
from jobs.resources import Receipt, letter_without_job
from tests.jobs.conftest import Cloud
from tests.jobs.documented_tasks import echo


@pytest.fixture
def queue(cloud: Cloud) -> HostedResources:
    return HostedResources(QStash(cloud.url, "token-of-the-cloud"))


def lines(cloud: Cloud) -> list[str]:
    return [asked["line"] for asked in cloud.asked]


async def test_schedule_is_made_as_qstash_wants_it(queue, cloud):
    letter = letter_without_job(echo, "hello")
    await queue.put_schedule("mine-1", "* * * * *", letter)
    (asked,) = cloud.asked
    assert asked["line"] == "POST /v2/schedules/http://testserver/api/echo"
    assert asked["body"] == letter.body
    headers = dict(asked["headers"])
    assert headers["Upstash-Cron"] == "* * * * *"
    assert headers["Upstash-Schedule-Id"] == "mine-1"
    assert headers.items() >= letter.headers.items()


async def test_schedule_is_paused_resumed_and_deleted_by_its_id(queue, cloud):
    await queue.pause_schedule("mine-1")
    await queue.resume_schedule("mine-1")
    await queue.delete_schedule("mine-1")
    assert lines(cloud) == [
        "PATCH /v2/schedules/mine-1/pause",
        "PATCH /v2/schedules/mine-1/resume",
        "DELETE /v2/schedules/mine-1",
    ]


async def test_schedule_that_is_gone_is_deleted_and_cannot_be_paused(queue, cloud):
    cloud.usual = (404, {}, '{"error": "schedule not found"}')
    await queue.delete_schedule("mine-1")
    with pytest.raises(Refused, match="schedule not found"):
        await queue.pause_schedule("mine-1")


async def test_schedules_are_read_oldest_first_and_only_those_asked_for(queue, cloud):
    told = {"cron": "* * * * *", "isPaused": True, "createdAt": 2000, "error": "on fire"}
    cloud.answer(
        200,
        [
            {"scheduleId": "mine-2"} | told,
            {"scheduleId": "mine-1"} | told | {"createdAt": 1000, "isPaused": False},
            {"scheduleId": "yours-1"} | told,
        ],
    )
    first, second = await queue.schedules("mine-")
    assert (first.schedule_id, first.paused, first.created_at.timestamp()) == ("mine-1", False, 1)
    assert (second.schedule_id, second.paused, second.error) == ("mine-2", True, "on fire")


async def test_group_is_made_and_sent_to(queue, cloud):
    cloud.answer(200, "")
    cloud.answer(200, [{"messageId": "msg_1", "url": "https://one.example.com/"}])
    await queue.put_group("all", {"one": "https://one.example.com/"})
    receipts = await queue.publish_to_group("all", letter_without_job(echo), once="order-1")
    assert lines(cloud) == ["POST /v2/topics/all/endpoints", "POST /v2/publish/all"]
    endpoints = {"endpoints": [{"name": "one", "url": "https://one.example.com/"}]}
    assert json.loads(cloud.asked[0]["body"]) == endpoints
    assert cloud.asked[1]["headers"]["Upstash-Deduplication-Id"] == "order-1"
    assert receipts == [Receipt("msg_1", "https://one.example.com/")]


@pytest.mark.parametrize("nonsense", ["<html>", "[1]", '[{"scheduleId": "x"}]', "7"])
async def test_answer_that_cannot_be_read_is_a_publish_error(queue, cloud, nonsense):
    cloud.usual = (200, {}, nonsense)
    with pytest.raises(Refused, match="did not answer with a list of schedules"):
        await queue.schedules("")
    with pytest.raises(Refused, match="messages of a URL group"):
        await queue.publish_to_group("all", letter_without_job(echo), once="1")
