"""News as server-sent events: one answer that goes on for minutes.

No message passes here. While nothing changes, a stream is a suspended coroutine: it holds no
thread and no database connection.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import random
import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse

from live.pages import News, OpenPage
from live.reader import Reader, reader

# A proxy closes a connection on which nothing moves for a minute or so.
HEARTBEAT_SECONDS = 15.0
# Then the browser asks for a new one, so a process keeps nothing for long.
LIFETIME_SECONDS = 300.0
# Time alone can bring news that no source knows of. A thousand idle pages that asked with every
# heartbeat took 0.1 cores.
HEARTBEATS_TO_ASK = 4
EVENT_STREAM = "text/event-stream"
HEADERS = {
    # no-transform: nobody may compress it, and so wait for more.
    "Cache-Control": "no-store, no-transform",
    # https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_buffering
    "X-Accel-Buffering": "no",
}
LINE_END = re.compile(r"\r\n|\r|\n")


class Streams:
    """The streams of a process; `reader` wakes them."""

    def __init__(self, reader: Reader, lifetime_seconds: float = LIFETIME_SECONDS) -> None:
        self.reader, self.lifetime_seconds = reader, lifetime_seconds
        self.heartbeat_seconds, self.heartbeats_to_ask = HEARTBEAT_SECONDS, HEARTBEATS_TO_ASK
        self.open = 0

    def have_room_for(self, request: HttpRequest) -> bool:
        """Whether to stream: an asynchronous server that goes on, and not too many already."""
        has_room = self.open < settings.LIVE_STREAMS and not self.reader.stopped
        return isinstance(request, ASGIRequest) and has_room

    async def answer(self, page: OpenPage, topics: Iterable[str]) -> HttpResponse:
        """A stream of news. What goes wrong at its beginning is raised here."""
        events = self.events(page, topics)
        await anext(events)
        response = StreamingHttpResponse(events, content_type=EVENT_STREAM, headers=HEADERS)
        return response  # type: ignore[return-value]

    async def events(self, page: OpenPage, topics: Iterable[str]) -> AsyncGenerator[str]:
        """Nothing at first, then an event whenever there is news, and heartbeats."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self.lifetime_seconds * random.uniform(0.8, 1.2)  # noqa: S311
        self.open += 1
        try:
            async with self.reader.watch([*topics, *page.topics]) as changed:
                news = await self.news(page)
                yield ""
                yield event(news) if news else ":\n\n"
                # The stream ends; then the page asks, and is answered with the error.
                with suppress(DatabaseError, Http404):
                    silent = 0
                    while await self.wait(changed) and loop.time() < ends_at:
                        silent = 0 if changed.is_set() else silent + 1
                        changed.clear()
                        news = None
                        if silent % self.heartbeats_to_ask == 0:
                            news = await self.news(page)
                        yield event(news) if news else ":\n\n"
        finally:
            self.open -= 1

    async def wait(self, changed: asyncio.Event) -> bool:
        """Until there may be news; time alone can bring some. False if the server stops."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.heartbeat_seconds):
                await changed.wait()
        return not self.reader.stopped

    async def news(self, page: OpenPage) -> News | None:
        async with self.reader.turns:
            return await page.news()


def event(news: News) -> str:
    """An event whose id is the page's new version."""
    lines = LINE_END.split(news.html)
    return f"id: {news.version}\n" + "".join(f"data: {line}\n" for line in lines) + "\n"


streams = Streams(reader)
