"""A message's way, from the click until the page knows its end. See the README."""

import re

from broker.connections import Connections
from broker.delivery import Outcome, headers_for
from broker.dispatcher import Dispatcher
from broker.models import Message
from harness.sink import Sink
from jobs.models import Job


async def test_a_messages_way_from_the_click_to_the_end(async_client, transactional_db, settings):
    async def deliver(connections: Connections, message: Message, key: str) -> Outcome:
        """Make the POST to this site without a network."""
        response = await async_client.post(
            message.url.removeprefix(settings.PUBLIC_URL),
            bytes(message.body),
            content_type="application/json",
            headers={k: v for k, v in headers_for(message, key).items() if k != "Content-Type"},
        )
        return Outcome(response.status_code, {}, response.content, "")

    with Sink() as sink:
        settings.LONG_TASK_TARGET_URL = sink.url

        # A visitor clicks; a job and its message are stored, and the page shows the job.
        page = await async_client.post("/jobs/start", headers={"HX-Request": "true"})
        job, message = await Job.objects.aget(), await Message.objects.aget()
        assert f"Started job with ID <code>{message.message_id}</code>" in page.text
        assert (job.status, job.message_id) == ("queued", message.message_id)
        assert message.url == "http://testserver/api/long-task"

        # The page asks what has changed, and then whether anything has changed since.
        home = (await async_client.get("/")).text
        (url,) = re.findall(r'data-live="([^"]+)"', home)
        (version,) = re.findall(r'data-live="[^"]+" data-version="([^"]+)"', home)
        assert (await async_client.get(url, {"since": version})).status_code == 204

        # The dispatcher claims the message, signs it and posts it to /api/long-task, which
        # checks the signature, claims the job and makes the ten requests.
        assert await Dispatcher(deliver).run_once() == 1
        assert sink.keys == [f"{job.id}-{number}" for number in range(1, 11)]
        pauses = [b["at"] - a["at"] for a, b in zip(sink.requests, sink.requests[1:], strict=False)]
        assert min(pauses) >= 0.5

    # The 2xx has settled the message, and nothing is due any more.
    await job.arefresh_from_db()
    await message.arefresh_from_db()
    assert (job.status, job.steps_done, job.attempts) == ("succeeded", 10, 1)
    assert (message.state, message.due_at) == ("DELIVERED", None)
    assert await Dispatcher(deliver).run_once() == 0

    # The page is told of it once, and that nothing has changed since.
    news = await async_client.get(url, {"since": version})
    assert "succeeded" in news.text
    later = await async_client.get(url, {"since": news["Live-Version"]})
    assert later.status_code == 204
