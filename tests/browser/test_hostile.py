"""Hostile data on every page, under the CSP, in the real browser: no script runs, nothing breaks.

`PLANTS` puts it where data comes from: requests that anybody can send, messages, errors, the
results of tasks. Every page that a visitor can reach is then opened (harness/pages.py finds
them), so a new page is covered as soon as a link leads to it. To cover new data, add a plant.
"""

import json
import time
from collections.abc import Callable, Iterator

import pytest
import requests
from playwright.sync_api import Page

from harness.pages import pages_of
from harness.processes import ROOT, Site, site
from harness.visitor import Visitor
from tests.browser.conftest import PASSWORD, Browse, execute, moment, paint

TOKEN = "token-of-the-hostile-tests"
MARK = "hostile-data"
SCRIPT = (
    f"{MARK}</script></pre></textarea></title><script>window.harmed = 1</script>"
    "<img src=x onerror='window.harmed = 2'><svg onload=window.harmed=3>"
    "<style>body { display: none }</style>{{ 7|add:7 }}{% debug %}"
)
QUOTES = '"\'`><a href="javascript:window.harmed=4" onclick=\'window.harmed=5\' style="x">&amp;&lt;'
TURNED = "\u202eabc\u202c \u2066def\u2069 \u200f\u061c \ufeff\u0301\u0301\u0301"
LONG = "x" * 10_000
HOSTILE = f"{SCRIPT} {QUOTES} {TURNED} {LONG}"
# What fits into a header: one line of ASCII.
IN_HEADER = f"{SCRIPT} {QUOTES} {'x' * 2000}"

HARM = """() => {
  const handler = (attribute) => /^on|^style$/.test(attribute.name);
  const all = [...document.querySelectorAll("main *")];
  return [
    window.harmed ?? null,
    document.querySelectorAll("main script, main style, a[href^=javascript]").length,
    all.filter((element) => [...element.attributes].some(handler)).length,
  ];
}"""
TOO_WIDE = """() => [...document.querySelectorAll("main *")].filter((element) => {
  const scrolls = element.closest("pre, .diagram, [data-scrolls], table");
  const box = element.getBoundingClientRect();
  return !scrolls && box.width && box.right > innerWidth + 1 && !isCutOff(element);

  function isCutOff(part) {
    const outer = part.parentElement;
    const ends = getComputedStyle(outer).overflowX === "hidden";
    if (ends && outer.getBoundingClientRect().right <= innerWidth + 1) return true;
    return outer.tagName !== "MAIN" && isCutOff(outer);
  }
}).slice(0, 5).map((element) => element.outerHTML.slice(0, 200))"""


def catch(running: Site, visitor: Visitor) -> None:
    """Anybody can send anything to the catcher."""
    url = f"{running.url}/catcher/hello/"
    bodies = [
        (HOSTILE.encode(), "text/html"),
        (json.dumps({SCRIPT: [QUOTES, TURNED, LONG]}).encode(), "application/json"),
        (bytes(range(256)) * 20, "application/octet-stream"),
        (SCRIPT.encode("utf-16"), f"text/plain; charset={QUOTES}"),
    ]
    for body, kind in bodies:
        headers = {"Content-Type": kind, "X-Hostile": IN_HEADER, "User-Agent": SCRIPT}
        answer = requests.post(
            f"{url}{'y' * 800}", params={"q": SCRIPT}, data=body, headers=headers, timeout=30
        )
        assert answer.status_code < 500
    files = {"file": (SCRIPT, b"GIF89a" + SCRIPT.encode(), "image/svg+xml")}
    requests.post(url, files=files, timeout=30)


def publish(running: Site, visitor: Visitor) -> None:
    """A message's address, body, headers, label, and the names that it goes by."""
    here = f"{running.url}/catcher/hello/{'z' * 900}"
    headers = {
        "Authorization": f"Bearer {TOKEN}",
        "Upstash-Forward-X-Hostile": IN_HEADER,
        "Upstash-Delay": "1h",
        "Content-Type": "text/html",
    }
    for destination in (here, f"{here}?q={'%3Cscript%3E' * 50}"):
        url = f"{running.url}/v2/publish/{destination}"
        answer = requests.post(url, HOSTILE.encode(), headers=headers, timeout=30)
        assert answer.status_code < 300, answer.text
    # The API limits what a label may hold; a row that came by another way need not obey.
    execute(running, "UPDATE broker_message SET labels = ?", f",{SCRIPT} {'l' * 500},")


def fail(running: Site, visitor: Visitor) -> None:
    """A job whose steps, errors and result are what a hostile target made of them."""
    at = time.time()
    error = {"attempt": 1, "at": at, "text": HOSTILE, "exception": SCRIPT, "traceback": HOSTILE}
    step = {"number": 1, "at": at, "text": HOSTILE}
    for status in ("failed", "waiting", "running", "succeeded"):
        paint(
            running,
            visitor.click().job_id,
            status=status,
            error=HOSTILE,
            errors=json.dumps([error]),
            log=json.dumps([step]),
            steps_done=1,
            attempts=1,
            return_value=json.dumps(HOSTILE),
            started_at=moment(-3),
            next_attempt_at=moment(900),
            **({"finished_at": moment()} if status in {"failed", "succeeded"} else {}),
        )


def submit(running: Site, visitor: Visitor) -> None:
    """What a visitor types into the forms of the examples, and the name of an uploaded file."""
    users = [HOSTILE, f"{SCRIPT}@example.com", f"{LONG[:240]}@example.com", "ada@example.com"]
    form = {"csrfmiddlewaretoken": visitor.token}
    picture = (ROOT / "docs/screenshots/home.png").read_bytes()
    answers = [
        visitor.http.post(f"{running.url}/api/start-email-job", json={"users": users}, timeout=30),
        visitor.http.post(
            f"{running.url}/api/upload-image",
            data=form,
            files={"image": (f"{SCRIPT} {TURNED} {LONG[:2000]}.png", picture, "image/png")},
            timeout=30,
        ),
        visitor.http.post(f"{running.url}/schedule/start", form | {"cron": HOSTILE}, timeout=30),
        visitor.http.post(
            f"{running.url}/schedule/start", form | {"cron": "* * * * *"}, timeout=30
        ),
    ]
    assert 500 not in [answer.status_code for answer in answers]


PLANTS: list[Callable[[Site, Visitor], None]] = [catch, fail, submit, publish]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Visitor]]:
    """A site without a dispatcher, and a visitor whose data is hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    own = {"BROKER_TOKEN": TOKEN, "CONSOLE_PASSWORD": PASSWORD}
    with site(folder, RUN_DISPATCHER="0", **own) as running:
        running.start_web()
        visitor = Visitor(running.url).sign_in(PASSWORD)
        for plant in PLANTS:
            plant(running, visitor)
        yield running, visitor


@pytest.fixture(scope="module")
def paths(planted: tuple[Site, Visitor]) -> dict[str, str]:
    """Every page that the visitor can reach; of jobs and bins, all of them."""
    running, visitor = planted
    pages = pages_of(visitor) | {"bin": "/catcher/hello/"}
    links = visitor.http.get(running.url, timeout=30).text.split('href="/jobs/')[1:]
    jobs = {f"job {link[:8]}": f"/jobs/{link[:32]}" for link in links}
    return pages | jobs


def look(page: Page, running: Site, path: str) -> dict[str, object]:
    """What is wrong with a page, once all that can be opened on it is open."""
    page.goto(running.url + path)
    page.locator("summary").evaluate_all("all => all.forEach(one => one.click())")
    wrong = {
        "harm": page.evaluate(HARM) != [None, 0, 0] and page.evaluate(HARM),
        "too wide": page.evaluate(TOO_WIDE),
        "scrolls": page.evaluate("document.documentElement.scrollWidth") - 320,
        "hidden": not page.locator("h1").is_visible(),
    }
    return {name: found for name, found in wrong.items() if found}


def test_hostile_data_is_on_the_pages(planted, paths):
    running, visitor = planted
    for name in (
        "home",
        "bin",
        "console_message",
        *[name for name in paths if name.startswith("job ")],
    ):
        headers = {"Accept": "text/html"}
        text = visitor.http.get(running.url + paths[name], headers=headers, timeout=30).text
        assert MARK in text, name
        assert "<script>window.harmed" not in text


def test_no_page_runs_a_script_or_breaks_at_320_pixels(browse: Browse, planted, paths):
    running, visitor = planted
    cookies = [
        {"name": cookie.name, "value": cookie.value or "", "url": running.url}
        for cookie in visitor.http.cookies
    ]
    page = browse(
        running.url,
        viewport={"width": 320, "height": 640},
        storage_state={"cookies": cookies, "origins": []},
    )
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    found = {path: wrong for path in paths.values() if (wrong := look(page, running, path))}
    assert found == {}


def test_json_of_a_job_is_no_page(planted, paths):
    running, visitor = planted
    job = next(path for name, path in paths.items() if name.startswith("job "))
    answer = visitor.http.get(running.url + job, headers={"Accept": "application/json"}, timeout=30)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
