"""A real browser: Debian's chromium, driven by Playwright.

`browse(url)` opens a page as a new visitor. Whatever a browser can complain about (an error
on the console, a script that breaks, a violation of the Content-Security-Policy, a request
to another origin) is noted, and fails the test at its end unless the test expects it.
"""

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from harness.chromium import CHROMIUM, launch
from harness.processes import ROOT, Site, free_port, site
from harness.sink import Sink
from harness.visitor import Visitor
from tests.conftest import skip_or_fail

expect.set_options(timeout=15_000)

AXE = ROOT / "tests" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
PASSWORD = "sesame"  # of the queue's pages
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`);
});
"""


class Browse:
    """Opens pages, each as a new visitor, and keeps what the browser complains about."""

    def __init__(self, chromium: Browser) -> None:
        self.chromium = chromium
        self.contexts: list[BrowserContext] = []
        self.complaints: list[str] = []
        self.expected: list[str] = []

    def __call__(self, url: str, **options: Any) -> Page:
        context = self.chromium.new_context(**options)
        self.contexts.append(context)
        context.set_default_timeout(15_000)
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self.note)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        origin = urlsplit(url).netloc
        context.on("request", lambda request: self.note_request(request.url, origin))
        return self.tab(context.new_page(), url)

    def tab(self, page: Page, url: str) -> Page:
        """Open an address in a page that exists."""
        page.goto(url)
        return page

    def expect(self, *complaints: str) -> None:
        """Allow complaints that contain one of these."""
        self.expected += complaints

    def note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def note_request(self, url: str, origin: str) -> None:
        if urlsplit(url).scheme != "data" and urlsplit(url).netloc != origin:
            self.complaints.append(f"{url} is of another origin")

    def close(self) -> list[str]:
        """Close every page; what they complained about and nobody expected."""
        for context in self.contexts:
            context.close()
        return [
            complaint
            for complaint in self.complaints
            if not any(words in complaint for words in self.expected)
        ]


def require_chromium() -> None:
    if not Path(CHROMIUM).exists():
        skip_or_fail("chromium is not installed. On Debian: apt-get install chromium")


@pytest.fixture(scope="session", autouse=True)
def chromium_is_installed() -> None:
    """Asked before any site is started for nothing."""
    require_chromium()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of this folder.

    Not for the session: while Playwright runs, its event loop counts as this thread's, and
    asynchronous tests of other folders could not start their own.
    """
    require_chromium()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def browse(chromium: Browser) -> Iterator[Browse]:
    browse = Browse(chromium)
    yield browse
    assert browse.close() == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility checker's script; evaluated, as the CSP would refuse it as a tag."""
    if not AXE.exists():
        skip_or_fail("axe-core is not installed; enable with: npm ci --prefix tests/browser")
    return AXE.read_text()


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose jobs run and end in the visitor's bin."""
    with site(tmp_path_factory.mktemp("live")) as running:
        running.start_web()
        yield running


@pytest.fixture(scope="session")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site without a dispatcher: its jobs stay as they are, or as `paint` leaves them."""
    folder = tmp_path_factory.mktemp("still")
    with site(folder, RUN_DISPATCHER="0", CONSOLE_PASSWORD=PASSWORD) as running:
        running.start_web()
        yield running


@pytest.fixture(scope="session")
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture(scope="session")
def aimed(tmp_path_factory: pytest.TempPathFactory, sink: Sink) -> Iterator[Site]:
    """A site whose jobs send their requests to a target of the tests' own."""
    folder = tmp_path_factory.mktemp("aimed")
    with site(folder, LONG_TASK_TARGET_URL=sink.url) as running:
        running.start_web()
        yield running


@pytest.fixture(scope="session")
def cut_off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with hosted QStash, which it cannot reach. A visitor may start four jobs a minute."""
    hosted = {
        "QSTASH_URL": f"http://127.0.0.1:{free_port()}",
        "QSTASH_TOKEN": "token",
        "QSTASH_CURRENT_SIGNING_KEY": "sig_current",
        "QSTASH_NEXT_SIGNING_KEY": "sig_next",
        "LIMIT_JOBS": "4",
        "LIMIT_VISITORS": "1000",
    }
    with site(tmp_path_factory.mktemp("cut_off"), **hosted) as running:
        running.start_web()
        yield running


def start_job(page: Page) -> str:
    """Click the button; the new job's id."""
    with page.expect_response("**/jobs/start") as answer:
        page.get_by_role("button", name="Start Background Job").click()
    job_id = re.search(r'id="job-(\w+)"', answer.value.text())[1]
    expect(page.locator(f"#job-{job_id}")).to_be_visible()
    return job_id


def record(page: Page) -> Callable[[], list[str]]:
    """Note every text that a state or the announcement ever shows; call for the list."""
    page.evaluate("""() => {
      window.shown = [];
      const note = () => {
        for (const element of document.querySelectorAll(".state, .amount, #announcement")) {
          const of = element.id.replace(/^(state|amount)-/, "job-");
          const text = `${of}: ${element.textContent.replace(/\\s+/g, " ").trim()}`;
          if (!window.shown.includes(text)) window.shown.push(text);
        }
      };
      new MutationObserver(note).observe(document.body, { childList: true, subtree: true });
    }""")
    return lambda: page.evaluate("window.shown")


def execute(site: Site, sql: str, *values: Any) -> None:
    """Change a site's database behind its back."""
    file = site.folder / "site.sqlite3"
    with closing(sqlite3.connect(file, timeout=20)) as database, database:
        database.execute(sql, values)


def paint(site: Site, job_id: str, **columns: Any) -> None:
    """Give a job another state."""
    columns = {"changed_at": moment()} | columns
    names = ", ".join(f"{name} = ?" for name in columns)
    execute(site, f"UPDATE jobs_job SET {names} WHERE id = ?", *columns.values(), job_id)  # noqa: S608


def moment(seconds: float = 0) -> str:
    """Seconds from now, as SQLite keeps it."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f")


def steps_done(count: int) -> dict[str, Any]:
    """The columns of a job that has noted `count` steps."""
    log = [
        {"number": number, "at": time.time() + number / 2, "text": "HTTP 200"}
        for number in range(1, count + 1)
    ]
    return {"steps_done": count, "log": json.dumps(log)}


def failed_with(text: str) -> dict[str, Any]:
    """The columns of a job whose last attempt has failed."""
    error = {"attempt": 1, "at": time.time() + 2, "text": text, "exception": "", "traceback": ""}
    return {"error": text, "errors": json.dumps([error])}


LONG_REASON = (
    "step 4: there is no host called "
    "a-rather-long-host-name-that-nobody-would-choose-for-a-target.internal.example.com:8443"
)


def states() -> dict[str, dict[str, Any]]:
    """Every state a job can be in, as the columns that make it."""
    begun = {"started_at": moment(-5.1), "attempts": 1} | steps_done(3)
    failed_once = failed_with("step 4: HTTP 500")
    return {
        "queued": {"status": "queued"},
        "scheduled": {"status": "queued", "run_after": moment(900)},
        "running": begun | {"status": "running"},
        "waiting": begun | failed_once | {"status": "waiting", "next_attempt_at": moment(900)},
        "giving_up": begun
        | failed_once
        | {"status": "waiting", "attempts": 4, "next_attempt_at": moment(8)},
        "succeeded": begun | steps_done(10) | {"status": "succeeded", "finished_at": moment()},
        "failed": begun
        | failed_with(LONG_REASON)
        | {"status": "failed", "attempts": 4, "finished_at": moment()},
        "cancelled": {"status": "cancelled", "finished_at": moment()},
        "not_sent": {
            "status": "not_sent",
            "messages": "[]",
            "error": "https://qstash.upstash.io cannot be reached. Check QSTASH_URL.",
        },
    }


class Gallery(NamedTuple):
    """A visitor who has a job in every state, and a bin with long requests."""

    url: str
    jobs: dict[str, str]
    storage_state: dict[str, Any]

    @property
    def pages(self) -> dict[str, str]:
        """One of each kind."""
        return {
            "home": "/",
            "running": f"/jobs/{self.jobs['running']}",
            "failed": f"/jobs/{self.jobs['failed']}",
            "not sent": f"/jobs/{self.jobs['not_sent']}",
            "bin": "/catcher/gallery/",
            "no such page": "/nothing",
        }


@pytest.fixture(scope="session")
def gallery(still: Site) -> Gallery:
    visitor, jobs = Visitor(still.url), {}
    for state, columns in states().items():
        jobs[state] = visitor.click().job_id
        paint(still, jobs[state], **columns)
    requests.post(
        f"{still.url}/catcher/gallery/{'long' * 40}?and={'longer' * 30}",
        json={"hello": "world", "words": "word" * 90},
        headers={"Idempotency-Key": "key" * 60},
        timeout=10,
    )
    cookies = [
        {"name": cookie.name, "value": cookie.value or "", "url": still.url}
        for cookie in visitor.http.cookies
    ]
    return Gallery(still.url, jobs, {"cookies": cookies, "origins": []})
