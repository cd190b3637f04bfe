import asyncio

import pytest
from django.db import DatabaseError
from django.http import Http404
from django.test import AsyncRequestFactory

from live.pages import News, OpenPage
from live.reader import RENDERED_AT_ONCE
from live.streams import Streams, event

# A reader looks after the thread's connection, even if its sources make no query.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def streams(reader):
    streams = Streams(reader)
    yield streams
    assert streams.open == 0


class Counter:
    """A page whose version is a number that the test sets."""

    number = 1

    async def changes(self, request, since):
        return (
            News(f"<p>{self.number}</p>", str(self.number)) if since != str(self.number) else None
        )


@pytest.fixture
def counter():
    return Counter()


def page_of(counter, query="?since=1"):
    return OpenPage(AsyncRequestFactory().get(f"/changes{query}"), counter.changes, {})


async def chunks(events, count):
    async with asyncio.timeout(30):
        return [await anext(events) for _ in range(count)]


async def test_event_has_the_html_and_the_version(streams, counter):
    events = streams.events(page_of(counter, "?since=0"), ["t"])
    assert await chunks(events, 2) == ["", "id: 1\ndata: <p>1</p>\n\n"]
    await events.aclose()


async def test_stream_without_news_begins_with_a_comment(streams, counter):
    events = streams.events(page_of(counter), ["t"])
    assert await chunks(events, 2) == ["", ":\n\n"]
    await events.aclose()


async def test_change_of_the_topic_becomes_an_event(streams, counter, changes):
    events = streams.events(page_of(counter), ["t"])
    await chunks(events, 2)
    counter.number, changes.topics = 2, {"t"}
    assert await chunks(events, 1) == ["id: 2\ndata: <p>2</p>\n\n"]
    await events.aclose()


async def test_heartbeat_comes_when_nothing_changes_and_brings_what_time_has_changed(
    streams, counter
):
    streams.heartbeat_seconds, streams.heartbeats_to_ask = 0.01, 3
    events = streams.events(page_of(counter), ["t"])
    assert await chunks(events, 3) == ["", ":\n\n", ":\n\n"]
    counter.number = 2
    assert await chunks(events, 2) == [":\n\n", "id: 2\ndata: <p>2</p>\n\n"]
    await events.aclose()


async def test_stream_ends_by_itself_after_some_time(streams, counter):
    streams.heartbeat_seconds = streams.lifetime_seconds = 0.01
    async with asyncio.timeout(30):
        chunks = [chunk async for chunk in streams.events(page_of(counter), ["t"])]
    assert chunks[:2] == ["", ":\n\n"]


async def test_stream_ends_when_the_server_is_told_to_stop(streams, counter, reader):
    events = streams.events(page_of(counter), ["t"])
    await chunks(events, 2)
    reader.stop()
    async with asyncio.timeout(30):
        assert [chunk async for chunk in events] == []


async def test_error_at_the_beginning_is_raised_where_it_can_be_answered(streams):
    async def broken(request, since):
        raise LookupError("no such job")

    page = OpenPage(AsyncRequestFactory().get("/changes"), broken, {})
    with pytest.raises(LookupError):
        await streams.answer(page, ["t"])


@pytest.mark.parametrize("error", [DatabaseError("gone"), Http404("no such job")])
async def test_stream_ends_if_the_page_cannot_be_rendered_any_more(
    streams, counter, changes, error
):
    async def broken(request, since):
        raise error

    page = page_of(counter)
    events = streams.events(page, ["t"])
    await chunks(events, 2)
    page.changes, changes.topics = broken, {"t"}
    async with asyncio.timeout(30):
        assert [chunk async for chunk in events] == []


async def test_answer_that_nobody_reads_is_forgotten(streams, counter):
    response = await streams.answer(page_of(counter), ["t"])
    assert streams.open == 1
    del response
    async with asyncio.timeout(30):
        while streams.open:
            await asyncio.sleep(0.01)


async def test_only_so_many_are_rendered_at_once(streams, counter, changes):
    """A thousand pages that are woken at once leave room for a click."""
    at_once, most = 0, 0

    async def slow(request, since):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1

    pages = [OpenPage(AsyncRequestFactory().get("/"), slow, {}) for _ in range(50)]
    opened = [streams.events(page, ["t"]) for page in pages]
    await asyncio.gather(*(anext(events) for events in opened))
    assert most == RENDERED_AT_ONCE
    await asyncio.gather(*(events.aclose() for events in opened))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_of_the_html_is_data(end):
    assert event(News(f"<p>{end}id: 9</p>", "1")) == "id: 1\ndata: <p>\ndata: id: 9</p>\n\n"


def test_what_only_python_takes_for_a_line_end_stays():
    assert event(News("a\u2028b\x0bc", "1")) == "id: 1\ndata: a\u2028b\x0bc\n\n"
