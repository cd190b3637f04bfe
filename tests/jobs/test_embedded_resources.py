"""Schedules and URL groups in our own database."""

import pytest

from broker.models import Message, Schedule, UrlGroup
from jobs.embedded_resources import EmbeddedResources
from jobs.exceptions import Refused
from jobs.resources import letter_without_job
from tests.jobs.documented_tasks import echo

pytestmark = pytest.mark.usefixtures("transactional_db")
queue = EmbeddedResources()
ENDPOINTS = {"one": "http://testserver/api/echo", "two": "https://two.example.com/"}


async def put(schedule_id: str = "mine-1", cron: str = "* * * * *") -> None:
    await queue.put_schedule(schedule_id, cron, letter_without_job(echo, "hello"))


async def test_schedule_is_the_sites_and_publishes_the_letter():
    await put()
    schedule = await Schedule.objects.aget()
    assert (schedule.account, schedule.cron) == ("site", "* * * * *")
    assert schedule.destination == "http://testserver/api/echo"
    assert schedule.options["upstash-retries"] == ["3"]


async def test_schedules_are_found_by_the_beginning_of_their_ids():
    for schedule_id in ("mine-1", "mine-2", "yours-1"):
        await put(schedule_id)
    await queue.pause_schedule("mine-2")
    found = await queue.schedules("mine-")
    assert [(each.schedule_id, each.paused) for each in found] == [
        ("mine-1", False),
        ("mine-2", True),
    ]


async def test_schedule_of_another_account_is_not_the_sites():
    await Schedule.objects.acreate(account="other", schedule_id="mine-1", cron="* * * * *")
    assert await queue.schedules("") == []


async def test_schedule_is_paused_resumed_and_deleted():
    await put()
    await queue.pause_schedule("mine-1")
    assert (await Schedule.objects.aget()).next_at is None
    await queue.resume_schedule("mine-1")
    assert (await Schedule.objects.aget()).next_at
    await queue.delete_schedule("mine-1")
    await queue.delete_schedule("mine-1")
    assert not await Schedule.objects.aexists()


async def test_what_the_queue_rejects_is_a_publish_error_in_its_words():
    with pytest.raises(Refused, match="The queue refused: Upstash-Cron '61"):
        await put(cron="61 * * * *")
    with pytest.raises(Refused, match="there is no schedule"):
        await queue.pause_schedule("missing")
    with pytest.raises(Refused, match="invalid destination url"):
        await queue.publish_to_group("missing", letter_without_job(echo), once="1")


async def test_group_sends_a_message_to_each_endpoint_once():
    await queue.put_group("all", ENDPOINTS)
    letter = letter_without_job(echo, "hello")
    first = await queue.publish_to_group("all", letter, once="order-1")
    again = await queue.publish_to_group("all", letter, once="order-1")
    assert {receipt.url for receipt in first} == set(ENDPOINTS.values())
    assert {receipt.message_id for receipt in first} == {each.message_id for each in again}
    assert await Message.objects.acount() == 2


async def test_endpoint_of_a_group_gets_a_new_url_by_its_name():
    await queue.put_group("all", ENDPOINTS)
    await queue.put_group("all", ENDPOINTS | {"two": "https://new.example.com/"})
    group = await UrlGroup.objects.aget()
    urls = [end.url async for end in group.endpoints.order_by("id")]
    assert urls == ["http://testserver/api/echo", "https://new.example.com/"]
