"""The embedded queue's pages do what `/v2/` does, for the site's own account."""

import pytest

from broker.changes import make
from broker.models import DeadLetter, Message, Queue, Schedule, State, UrlGroup
from broker.options import checked_options
from broker.publishing import Publication
from broker.resources import queues, schedules, url_groups
from broker.resources.queues import QueueChange
from broker.resources.url_groups import EndpointChange, GroupChange
from console.embedded import EmbeddedPages
from console.filters import read_filters
from console.interface import Problem
from tests.broker.letters import buried, waiting
from tests.console.conftest import published

pytestmark = pytest.mark.django_db(transaction=True)

ALL = read_filters({})


async def test_waiting_message_is_cancelled():
    message = await published()
    assert await EmbeddedPages().cancel(message.message_id) == 1
    assert (await Message.objects.aget()).state == State.CANCELED
    assert await EmbeddedPages().cancel(message.message_id) == 0


async def test_message_of_another_account_is_not_there():
    message = await published()
    await Message.objects.aupdate(account="other")
    assert await EmbeddedPages().cancel(message.message_id) == 0
    assert await EmbeddedPages().message(message.message_id) is None
    assert (await EmbeddedPages().messages(ALL)).rows == []


async def test_letters_are_retried_and_deleted_by_their_ids():
    first, second, _ = await buried(3)
    assert await EmbeddedPages().take_letters("delete", [first]) == 1
    assert await EmbeddedPages().take_letters("retry", [second, first, "nonsense"]) == 1
    assert await DeadLetter.objects.acount() == 1
    assert [message.labels for message in await waiting()] == [",1,"]


async def test_all_letters_that_match_are_taken_oldest_first():
    await buried(3, labels=",a,")
    await buried(1, labels=",b,")
    filters = read_filters({"label": "a"})
    assert await EmbeddedPages().take_all_letters("retry", filters) == (3, False)
    assert len(await waiting()) == 3
    assert await EmbeddedPages().take_all_letters("delete", ALL) == (1, False)


async def test_one_click_takes_a_limited_number(monkeypatch):
    monkeypatch.setattr("console.embedded.MOST_TAKEN", 2)
    await buried(3)
    assert await EmbeddedPages().take_all_letters("delete", ALL) == (2, True)
    assert await EmbeddedPages().take_all_letters("delete", ALL) == (1, False)


async def test_letters_of_other_accounts_stay():
    (dlq_id,) = await buried(account="other")
    assert await EmbeddedPages().take_letters("delete", [dlq_id]) == 0
    assert await EmbeddedPages().take_all_letters("delete", ALL) == (0, False)


async def test_queue_is_paused_resumed_and_deleted():
    await make(queues.upsert, QueueChange("site", "q", 1))
    for verb, paused in (("pause", True), ("resume", False)):
        await EmbeddedPages().change("queue", verb, "q")
        assert (await Queue.objects.aget()).paused is paused
    await EmbeddedPages().change("queue", "delete", "q")
    assert (await EmbeddedPages().queues()).rows == []


async def test_key_is_paused_and_resumed():
    await published(flow_control_key="a/b c", flow_control_value="rate=5")
    await EmbeddedPages().change("key", "pause", "a/b c")
    assert [key["isPaused"] for key in (await EmbeddedPages().keys()).rows] == [True]
    await EmbeddedPages().change("key", "resume", "a/b c")
    assert [key["isPaused"] for key in (await EmbeddedPages().keys()).rows] == [False]


async def test_schedule_is_paused_resumed_and_deleted():
    options = checked_options({"upstash-cron": "* * * * *", "upstash-schedule-id": "s"})
    asked = Publication("http://target.test/", options, b"body")
    await make(schedules.put, schedules.new_schedule(asked._replace(account="site"), 1))
    await EmbeddedPages().change("schedule", "pause", "s")
    assert (await Schedule.objects.aget()).next_at is None
    await EmbeddedPages().change("schedule", "resume", "s")
    assert (await Schedule.objects.aget()).next_at
    await EmbeddedPages().change("schedule", "delete", "s")
    assert not await Schedule.objects.aexists()


async def test_group_is_deleted():
    ends = (EndpointChange("http://a.test/", "a"),)
    await make(url_groups.add_endpoints, GroupChange("site", "g", 1, ends))
    (group,) = (await EmbeddedPages().url_groups()).rows
    assert group["endpoints"] == [{"url": "http://a.test/", "name": "a"}]
    await EmbeddedPages().change("group", "delete", "g")
    assert not await UrlGroup.objects.aexists()


@pytest.mark.parametrize(
    "what, verb, name",
    [
        ("queue", "pause", "no such"), ("schedule", "pause", "none"), ("key", "pause", " "),
        ("queue", "delete", "a/b"), ("group", "delete", ""), ("key", "pause", "a\0"),
    ],
)  # fmt: skip
async def test_change_that_cannot_be_is_a_problem(what, verb, name):
    with pytest.raises(Problem):
        await EmbeddedPages().change(what, verb, name)
