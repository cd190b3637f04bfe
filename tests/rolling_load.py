"""A steady load for tests/rolling_restart.py: visitors who click, one after the other.

Each visitor is a browser of its own: a session, a form's key for each click, and an address of
the loopback network. As browsers do, it repeats a click once, on a new connection, if the one
that it had kept open was closed before an answer came; those are counted.
"""

import asyncio
import itertools
import re
import secrets
import threading
import time
from typing import NamedTuple, Self

import aiohttp

JOB = re.compile(r'id="job-([0-9a-f]+)"')
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
PATIENCE_SECONDS = 30


class Click(NamedTuple):
    """One click: how long the answer took, the job or what was wrong, whether it was repeated."""

    seconds: float
    job_id: str
    error: str
    repeated: bool


class Browser:
    """A visitor with a page open."""

    def __init__(self, url: str, number: int) -> None:
        self.url, self.token = url, ""
        own_address = (f"127.0.1.{number + 1}", 0)
        self.http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(local_addr=own_address),
            cookie_jar=aiohttp.CookieJar(unsafe=True),
            timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS),
        )

    async def open(self) -> None:
        async with self.http.get(self.url) as answer:
            text = await answer.text()
            found = TOKEN.search(text)
            assert found, f"no form at {self.url}: {answer.status} {text[:500]}"
            self.token = found[1]

    async def click(self) -> Click:
        form = {"csrfmiddlewaretoken": self.token, "key": secrets.token_hex(16)}
        began, repeated = time.monotonic(), False
        try:
            try:
                text = await self.send(form)
            except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                repeated = True
                text = await self.send(form)
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            text = f"{type(problem).__name__} {problem}"
        found = JOB.search(text)
        error = "" if found else " ".join(text.split())[:200]
        return Click(time.monotonic() - began, found[1] if found else "", error, repeated)

    async def send(self, form: dict[str, str]) -> str:
        """POST a form as htmx does; the answer's status and text."""
        address, headers = f"{self.url}/jobs/start", {"HX-Request": "true"}
        async with self.http.post(address, data=form, headers=headers) as answer:
            return f"HTTP {answer.status} {await answer.text()}"


class Load:
    """Clicks at a steady rate, on a thread of its own, from `with` to its end."""

    def __init__(self, url: str, clicks_a_second: float, visitors: int = 20) -> None:
        self.url, self.pause, self.visitors = url, 1 / clicks_a_second, visitors
        self.clicks: list[Click] = []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), name="load")

    async def run(self) -> None:
        browsers = [Browser(self.url, number) for number in range(self.visitors)]
        for browser in browsers:
            await browser.open()
        clicking: list[asyncio.Task[None]] = []
        for browser in itertools.cycle(browsers):
            if self.ending.is_set():
                break
            clicking.append(asyncio.create_task(self.note(browser)))
            await asyncio.sleep(self.pause)
        await asyncio.gather(*clicking)
        for browser in browsers:
            await browser.http.close()

    async def note(self, browser: Browser) -> None:
        self.clicks.append(await browser.click())

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ending.set()
        self.thread.join()

    @property
    def lost(self) -> list[Click]:
        return [click for click in self.clicks if click.error]
