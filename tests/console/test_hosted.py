"""Hosted QStash's pages over HTTP, against a second instance that speaks its protocol."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from console.filters import read_filters
from console.hosted import HostedPages, console_client
from console.interface import Problem
from harness.processes import Site, free_port, site

TOKEN = "token-of-the-second-instance"
ALL = read_filters({})


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("cloud"), BROKER_TOKEN=TOKEN) as running:
        running.start_web()
        yield running


@pytest.fixture
def pages(cloud: Site, settings) -> HostedPages:
    settings.QSTASH_URL, settings.QSTASH_TOKEN = cloud.url, TOKEN
    return HostedPages()


@pytest.fixture
def ask(cloud: Site) -> Callable[..., requests.Response]:
    def ask(method: str, path: str, **options) -> requests.Response:
        headers = {"Authorization": f"Bearer {TOKEN}"} | options.pop("headers", {})
        answer = requests.request(
            method, f"{cloud.url}/v2/{path}", headers=headers, timeout=30, **options
        )
        assert answer.ok, answer.text
        return answer

    return ask


def publish(ask, label: str, to: str = "http://127.0.0.1:9/closed", **options: str) -> str:
    headers = {f"Upstash-{name.replace('_', '-')}": value for name, value in options.items()}
    headers |= {"Upstash-Label": label}
    return ask("POST", f"publish/{to}", data=b'{"a":"b"}', headers=headers).json()["messageId"]


async def letters_of(pages: HostedPages, label: str, number: int) -> list[dict]:
    """The dead letters with a label, once there are so many."""
    filters = read_filters({"label": label})
    deadline = time.monotonic() + 60
    while len(found := (await pages.letters(filters)).rows) < number:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    return found


async def test_log_is_shown_as_messages_newest_first_each_once(pages, ask):
    ids = [publish(ask, "listed", delay="1h") for _ in range(3)]
    found = await pages.messages(read_filters({"label": "listed"}))
    assert [row.message_id for row in found.rows] == ids[::-1]
    assert {row.state for row in found.rows} == {"queued"}
    assert found.rows[0].labels == ["listed"]
    assert await pages.counts(ALL) is None
    assert "lists no messages" in pages.missing["messages"]


async def test_one_message_has_its_log_and_no_claims(pages, ask):
    message_id = publish(ask, "one", delay="1h")
    detail = await pages.message(message_id)
    assert detail.state == "CREATED"
    assert detail.message["url"] == "http://127.0.0.1:9/closed"
    assert [line["state"] for line in detail.log] == ["CREATED"]
    assert detail.claims is None
    assert await pages.message("msg_none") is None


async def test_state_that_the_log_does_not_tell_is_no_filter(pages):
    assert "scheduled" not in pages.states
    with pytest.raises(Problem, match="does not tell which messages are scheduled"):
        await pages.messages(read_filters({"state": "scheduled"}))


async def test_message_is_cancelled(pages, ask):
    message_id = publish(ask, "cancelled", delay="1h")
    assert await pages.cancel(message_id) == 1
    assert await pages.cancel(message_id) == 0
    assert (await pages.message(message_id)).state == "CANCELED"


async def test_letters_are_listed_retried_and_deleted(pages, ask):
    for _ in range(3):
        publish(ask, "dead", retries="0")
    letters = await letters_of(pages, "dead", 3)
    assert all(letter["failedAt"] > 1_700_000_000_000 for letter in letters)
    assert await pages.take_letters("delete", [letters[0]["dlqId"]]) == 1
    filters = read_filters({"label": "dead"})
    assert await pages.take_all_letters("delete", filters) == (2, False)
    publish(ask, "again", retries="0")
    (letter,) = await letters_of(pages, "again", 1)
    assert await pages.take_letters("retry", [letter["dlqId"]]) == 1
    assert await pages.take_letters("retry", []) == 0


async def test_queues_keys_schedules_and_groups_are_listed_and_changed(pages, ask):
    ask("POST", "queues", json={"queueName": "q", "parallelism": 2})
    publish(ask, "key", delay="1h", flow_control_key="k", flow_control_value="rate=3")
    ask("POST", "topics/g/endpoints", json={"endpoints": [{"url": "http://a.test/"}]})
    schedule = ask(
        "POST", "schedules/http://a.test/", headers={"Upstash-Cron": "0 0 1 1 *"}
    ).json()["scheduleId"]
    await pages.change("queue", "pause", "q")
    await pages.change("key", "pause", "k")
    await pages.change("schedule", "pause", schedule)
    assert [queue["paused"] for queue in (await pages.queues()).rows] == [True]
    assert [key["isPaused"] for key in (await pages.keys()).rows] == [True]
    assert [one["isPaused"] for one in (await pages.schedules()).rows] == [True]
    await pages.change("group", "delete", "g")
    assert (await pages.url_groups()).rows == []


async def test_what_is_not_there_cannot_be_changed(pages):
    with pytest.raises(Problem, match="there is no queue 'none'"):
        await pages.change("queue", "pause", "none")


@pytest.mark.django_db(transaction=True)
async def test_pages_of_hosted_qstash_say_what_is_missing(pages, ask, settings, async_client):
    settings.CONSOLE_OPEN = True
    message_id = publish(ask, "page", delay="1h")
    listed = (await async_client.get("/queue/messages?label=page")).content.decode()
    assert message_id in listed and "lists no messages" in listed and 'data-live="' not in listed
    shown = (await async_client.get(f"/queue/messages/{message_id}")).content.decode()
    assert "does not tell the signature" in shown and TOKEN not in shown + listed
    for path in ("dead-letters", "queues", "schedules", "url-groups"):
        assert (await async_client.get(f"/queue/{path}")).status_code == 200


@pytest.mark.django_db(transaction=True)
async def test_queue_that_cannot_be_reached_is_said_in_words(settings, async_client):
    settings.CONSOLE_OPEN = True
    settings.QSTASH_URL, settings.QSTASH_TOKEN = f"http://127.0.0.1:{free_port()}", "hidden-token"
    answer = await async_client.get("/queue/messages")
    assert answer.status_code == 502
    assert "cannot be reached" in answer.content.decode()
    assert "hidden-token" not in answer.content.decode()


async def test_wrong_token_is_said_in_words(cloud, settings):
    settings.QSTASH_URL, settings.QSTASH_TOKEN = cloud.url, "wrong"
    with pytest.raises(Problem, match="QSTASH_TOKEN"):
        await HostedPages().messages(ALL)


def test_pages_have_an_http_session_of_their_own(settings):
    from jobs.qstash import client_for

    assert console_client("http://a.test", "t") is not client_for("http://a.test", "t")
