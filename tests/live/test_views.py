import asyncio

import pytest
from django.http import StreamingHttpResponse

from catcher.models import Entry
from live.streams import streams

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.live.urls")]
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture
async def entry():
    return await Entry.objects.acreate(bin="b", method="GET", path="/")


async def test_page_that_asks_gets_what_has_changed_and_its_version(async_client, entry):
    response = await async_client.get("/bins/b/changes?since=0")
    assert response.content == b'<p id="count" hx-swap-oob="true">1</p>'
    assert response.headers["Live-Version"] == "1"
    assert "no-store" in response.headers["Cache-Control"]


async def test_page_that_has_everything_gets_204(async_client, entry):
    response = await async_client.get("/bins/b/changes?since=1")
    assert response.status_code == 204
    assert response.content == b""


async def test_page_is_told_when_the_queue_stops(async_client, entry):
    response = await async_client.get("/bins/b/changes?since=1&part=queue:gone")
    assert 'id="queue-status"' in response.text
    assert 'hx-swap-oob="true"' in response.text
    assert response.headers["Live-Version"] == "1"


async def test_stream_sends_an_event_for_each_change(async_client, entry):
    response = await async_client.get("/bins/b/changes?since=0", headers=STREAM)
    assert isinstance(response, StreamingHttpResponse)
    assert response.headers["Content-Type"] == "text/event-stream"
    content = aiter(response.streaming_content)
    async with asyncio.timeout(30):
        assert (await anext(content)).startswith(b"id: 1\n")
        await Entry.objects.acreate(bin="b", method="GET", path="/")
        while not (chunk := await anext(content)).startswith(b"id: 2\n"):
            assert chunk == b":\n\n"
    await response.streaming_content.aclose()


async def test_stream_is_neither_stored_nor_transformed_nor_buffered(async_client, entry):
    headers = STREAM | {"Accept-Encoding": "gzip, br, zstd"}
    response = await async_client.get("/bins/b/changes?since=0", headers=headers)
    assert "Content-Encoding" not in response.headers
    assert {"no-store", "no-transform"} <= set(response.headers["Cache-Control"].split(", "))
    assert response.headers["X-Accel-Buffering"] == "no"
    await response.streaming_content.aclose()


async def test_stream_of_what_is_gone_is_404(async_client):
    response = await async_client.get("/bins/gone/changes", headers=STREAM)
    assert response.status_code == 404


async def test_page_beyond_the_most_streams_has_to_poll(async_client, entry, settings):
    settings.LIVE_STREAMS = 0
    response = await async_client.get("/bins/b/changes?since=0", headers=STREAM)
    assert response.status_code == 204


async def test_stopping_server_sends_its_pages_away(async_client, entry, monkeypatch):
    monkeypatch.setattr(streams.reader, "stopped", True)
    response = await async_client.get("/bins/b/changes?since=0", headers=STREAM)
    assert response.status_code == 204


def test_page_of_a_synchronous_server_has_to_poll(client, db):
    response = client.get("/bins/b/changes?since=1", headers=STREAM)
    assert response.status_code == 204
    assert client.get("/bins/b/changes?since=1").content.startswith(b"<p")
