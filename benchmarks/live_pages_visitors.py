"""The visitors of live_pages.py: each has a page open, reads its stream, and may click.

A page notes when it was told of each step of a job.
"""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from html import unescape
from typing import NamedTuple

import aiohttp

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
KEY = re.compile(r'name="key" value="([^"]+)"')
LIVE = re.compile(r'data-live="([^"]+)" data-version="([^"]*)"')
AMOUNT = re.compile(r'id="amount-([0-9a-f]+)".*?data-version="(\d+) of')
ENDED = re.compile(r'id="state-([0-9a-f]+)".*?data-version="[^"]*succeeded')
OPENED_AT_ONCE = 20


class Shown(NamedTuple):
    """A page has just shown that a job has done so many steps."""

    job_id: str
    steps: int
    at: float


class Page:
    """An open home page: what its browser keeps, and what its stream has brought."""

    def __init__(self, session: aiohttp.ClientSession, url: str, jobs_url: str) -> None:
        self.session, self.url, self.jobs_url = session, url, jobs_url
        self.events = 0
        self.shown: list[Shown] = []
        self.ended: set[str] = set()
        self.changed = asyncio.Event()

    async def open(self) -> None:
        """Ask for the page as a new visitor."""
        async with self.session.get(self.url) as response:
            text = await response.text()
            cookies = response.cookies.values()
        self.cookie = "; ".join(f"{cookie.key}={cookie.value}" for cookie in cookies)
        self.token, self.key = TOKEN.search(text)[1], KEY.search(text)[1]
        path, version = (unescape(part) for part in LIVE.search(text).groups())
        self.live = f"{self.url}{path}?since={version}"

    async def listen(self) -> AsyncIterator[None]:
        """Open the stream; then keep what it brings for as long as it is iterated."""
        headers = {"Accept": "text/event-stream", "Cookie": self.cookie}
        async with self.session.get(self.live, headers=headers) as response:
            assert response.content_type == "text/event-stream", await response.text()
            yield
            async for line in response.content:
                if line == b"\n":
                    yield
                self.take(line)

    def take(self, line: bytes) -> None:
        now = time.time()
        self.events += line.startswith(b"id:")
        text = line.decode()
        self.shown += [Shown(job, int(steps), now) for job, steps in AMOUNT.findall(text)]
        if ended := ENDED.findall(text):
            self.ended |= {*ended}
            self.changed.set()

    async def work(self, deadline: float, pause: float) -> None:
        """Start jobs, the next one when the page shows that the last has succeeded."""
        await asyncio.sleep(pause)
        for number in itertools.count():
            if time.monotonic() > deadline:
                return
            job_id = await self.click(f"{self.key}{number}")
            while job_id not in self.ended:
                await self.changed.wait()
                self.changed.clear()

    async def click(self, key: str) -> str:
        async with self.session.post(
            f"{self.jobs_url}/jobs/start",
            data={"csrfmiddlewaretoken": self.token, "key": key},
            headers={"Cookie": self.cookie, "HX-Request": "true"},
        ) as response:
            text = await response.text()
            assert response.status == 200, text
            return re.search(r'id="job-([0-9a-f]+)"', text)[1]


def client() -> aiohttp.ClientSession:
    """A connection for each request: the server closes those that nobody uses for 5 seconds."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
    )


@asynccontextmanager
async def open_pages(pages: list[Page]) -> AsyncIterator[None]:
    """Have the pages' streams open."""
    turns = asyncio.Semaphore(OPENED_AT_ONCE)
    listening: list[asyncio.Task] = []

    async def exhaust(stream: AsyncIterator[None]) -> None:
        async for _ in stream:
            pass

    async def start(page: Page) -> None:
        async with turns:
            await page.open()
            stream = page.listen()
            await anext(stream)
            listening.append(asyncio.create_task(exhaust(stream)))

    await asyncio.gather(*(start(page) for page in pages))
    try:
        yield
        for task in listening:
            assert not task.done(), "a stream has ended"
    finally:
        for task in listening:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*listening, return_exceptions=True)
