"""Queues, keys, schedules and groups: their numbers, and the buttons that change them."""

import re

import pytest

from broker.changes import make
from broker.models import Queue, Schedule, UrlGroup
from broker.options import checked_options
from broker.publishing import Publication
from broker.resources import queues, schedules, url_groups
from broker.resources.queues import QueueChange
from broker.resources.url_groups import EndpointChange, GroupChange
from tests.console.conftest import landed, published

pytestmark = pytest.mark.django_db(transaction=True)

EVIL = "<script>alert(1)</script>‮"


async def make_queue(name: str) -> None:
    await make(queues.upsert, QueueChange("site", name, 1))


async def make_schedule(name: str, destination: str = "http://a.test/") -> None:
    options = checked_options({"upstash-cron": "*/5 * * * *", "upstash-schedule-id": name})
    asked = Publication(destination, options, b"x" * 100_000)
    await make(schedules.put, schedules.new_schedule(asked, 1))


async def make_group(name: str, url: str = "http://a.test/") -> None:
    await make(
        url_groups.add_endpoints, GroupChange("site", name, 1, (EndpointChange(url, "one"),))
    )


async def test_queues_and_keys_have_their_numbers(visit):
    await make_queue("emails")
    for _ in range(3):
        await published(flow_control_key="k", flow_control_value="parallelism=2, rate=7, period=9")
    page = await visit.get("queues")
    assert "emails 0 unfinished 1 at once" in page.text
    assert "3 waiting 0 running of 2 0 of 7 started in 9 s" in page.text


async def test_queue_is_paused_and_resumed(visit):
    await make_queue("emails")
    answer = await visit.post("change/queue", do="pause", name="emails")
    assert landed(answer) == ("/queue/queues", "Queue emails paused.")
    page = await visit.follow(answer)
    assert "Queue emails paused." in page.text and 'aria-label="Resume emails"' in page.html
    await visit.post("change/queue", do="resume", name="emails")
    assert not (await Queue.objects.aget()).paused


async def test_schedule_shows_its_next_run_and_is_deleted(visit):
    await make_schedule("nightly")
    page = await visit.get("schedules")
    assert "nightly */5 * * * * to http://a.test/ next" in page.text
    await visit.post("change/schedule", do="delete", name="nightly", confirmed="1")
    assert not await Schedule.objects.aexists()


async def test_group_shows_its_endpoints_and_is_deleted(visit):
    await make_group("three")
    assert "three 1 endpoint one : http://a.test/" in (await visit.get("url-groups")).text
    answer = await visit.post("change/group", do="delete", name="three", confirmed="1")
    assert landed(answer) == ("/queue/url-groups", "URL group three deleted.")
    assert not await UrlGroup.objects.aexists()


@pytest.mark.parametrize("what", ["queue", "schedule", "group"])
async def test_nothing_is_deleted_without_a_question(visit, what):
    await make_queue("one")
    await make_schedule("one")
    await make_group("one")
    asked = await visit.post(f"change/{what}", do="delete", name="one")
    assert asked.status == 200
    assert re.search(f"Delete (URL )?{what} one?", asked.text)
    assert '<input type="hidden" name="name" value="one">' in asked.html
    for model in (Queue, Schedule, UrlGroup):
        assert await model.objects.acount() == 1
    assert (
        "deleted."
        in landed(await visit.post(f"change/{what}", do="delete", name="one", confirmed="1"))[1]
    )


async def test_destination_on_this_site_is_shown_as_a_path(visit):
    await make_schedule("s", "http://testserver/api/nightly")
    page = await visit.get("schedules")
    assert "to /api/nightly" in page.text
    assert 'title="http://testserver/api/nightly"' in page.html


@pytest.mark.parametrize("page", ["queues", "schedules", "url-groups"])
async def test_empty_list_says_so(visit, page):
    assert "None yet." in (await visit.get(page)).text


@pytest.mark.parametrize(
    "what, do, name, status",
    [
        ("queue", "burn", "q", 400), ("key", "delete", "k", 400), ("group", "pause", "g", 400),
        ("queue", "pause", "none", 404),
    ],
)  # fmt: skip
async def test_change_that_cannot_be_is_refused_in_words(visit, what, do, name, status):
    assert (await visit.post(f"change/{what}", do=do, name=name)).status == status


async def test_hostile_names_are_rendered_harmless(visit):
    await make_queue("q")
    await Queue.objects.aupdate(name=EVIL)
    await make_schedule("s", f"http://a.test/{'x' * 2000}")
    await Schedule.objects.aupdate(schedule_id=EVIL, error=EVIL)
    await make_group("g")
    await UrlGroup.objects.aupdate(name=EVIL)
    for path in ("queues", "schedules", "url-groups"):
        page = await visit.get(path)
        assert "<script>alert" not in page.html
        assert page.html.count("<bdi>&lt;script&gt;alert(1)&lt;/script&gt;[U+202E]</bdi>") >= 1


@pytest.mark.parametrize("path", ["queues", "schedules", "url-groups"])
async def test_list_has_pages_and_the_same_number_of_queries(visit, path, monkeypatch):
    monkeypatch.setattr("console.reading.PAGE", 2)
    for number in range(3):
        await make_queue(f"n{number}")
        await make_schedule(f"n{number}")
        await make_group(f"n{number}")
    page = await visit.get(path)
    assert "n1" in page.text and "n2" not in page.text
    name, cursor = page.html.partition('href="?')[2].partition('"')[0].split("=")
    assert "n2" in (await visit.get(path, **{name: cursor})).text
