"""Open pages in a real browser, told over a stream and by polling: what arrives, what stays."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from harness.processes import Site, site
from tests.browser.conftest import Browse, execute, moment, paint, start_job, steps_done

HOW = {"stream": "2000", "polling": "0"}


@pytest.fixture(scope="module", params=HOW)
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A site without a dispatcher, whose pages are told in one way or the other."""
    environment = {"LIVE_STREAMS": HOW[request.param], "RUN_DISPATCHER": "0"}
    with site(tmp_path_factory.mktemp(request.param), **environment) as running:
        running.start_web()
        yield running


def change(told: Site, job_id: str, count: int) -> None:
    """Let a job have done so many steps, as another process would."""
    paint(told, job_id, status="running", changed_at=moment(), **steps_done(count))


def amount(page: Page, job_id: str) -> Locator:
    return page.locator(f"#amount-{job_id}")


def test_job_of_another_tab_arrives_by_itself(browse: Browse, told: Site):
    first = browse(told.url)
    second = browse.tab(first.context.new_page(), told.url)
    job_id = start_job(second)
    expect(first.locator(f"#job-{job_id}")).to_be_visible()
    change(told, job_id, 7)
    expect(amount(first, job_id)).to_contain_text("7 of 10 steps done")
    expect(amount(second, job_id)).to_contain_text("7 of 10 steps done")
    assert first.locator(f"#job-{job_id}").count() == 1


def test_killed_server_that_comes_back_is_survived(browse: Browse, tmp_path: Path, how: str):
    browse.expect("Failed to load resource", "net::ERR")
    with site(tmp_path, LIVE_STREAMS=HOW[how], RUN_DISPATCHER="0") as broken:
        server = broken.start_web()
        page = browse(broken.url)
        job_id = start_job(page)
        broken.stop(server, signal.SIGKILL)
        expect(page.locator("#offline")).to_be_visible()
        expect(page.get_by_role("status")).to_have_text("Connection lost.")
        change(broken, job_id, 4)
        broken.start_web()
        expect(page.locator("#offline")).to_be_hidden()
        expect(amount(page, job_id)).to_contain_text("4 of 10 steps done")
        change(broken, job_id, 5)
        expect(amount(page, job_id)).to_contain_text("5 of 10 steps done")


@pytest.fixture(params=HOW)
def how(request: pytest.FixtureRequest) -> str:
    return request.param


def test_page_is_told_over_one_stream(browse: Browse, told: Site):
    """Or asks, where there are none; never both."""
    page = browse(told.url)
    asked = []
    page.on("request", lambda request: asked.append(request) if "since=" in request.url else None)
    browse.tab(page, told.url)
    job_id = start_job(page)
    change(told, job_id, 3)
    expect(amount(page, job_id)).to_contain_text("3 of 10 steps done")
    streamed = [request for request in asked if request.resource_type == "eventsource"]
    assert len(streamed) == len({request.url for request in streamed}) <= 2  # one for each load
    polled = [request for request in asked if request.resource_type == "fetch"]
    assert bool(polled) == (told.environment["LIVE_STREAMS"] == "0")


def test_page_without_a_stream_asks_at_once_when_a_form_is_answered(browse: Browse, told: Site):
    page = browse(told.url)
    page.add_init_script(
        "const wait = setTimeout; window.waits = [];"
        "setTimeout = (call, ms, ...more) => { waits.push(ms); return wait(call, ms, ...more); };"
    )
    with page.expect_response("**/jobs/changes**"):  # its stream, or its first look without one
        page.reload()
    page.evaluate("waits.length = 0")
    start_job(page)
    expect(page.locator("#way-browser-facts")).to_contain_text("Started job with ID msg_0")
    assert (0 in page.evaluate("waits")) == (told.environment["LIVE_STREAMS"] == "0")


def test_hidden_page_does_not_ask_and_catches_up_when_it_is_seen(browse: Browse, told: Site):
    page = browse(told.url)
    job_id = start_job(page)
    show(page, hidden=True)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    change(told, job_id, 6)
    page.wait_for_timeout(1500)  # three polls of a page that is seen
    assert asked == []
    show(page, hidden=False)
    expect(amount(page, job_id)).to_contain_text("6 of 10 steps done")


def show(page: Page, hidden: bool) -> None:
    """Let a page believe that its tab is covered by another one, or seen again."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_queue_that_stops_is_said_in_the_head(browse: Browse, told: Site):
    now_ms = int(time.time() * 1000)
    execute(told, "INSERT INTO broker_pulse VALUES ('one', ?, 0)", now_ms + 3_600_000)
    page = browse(told.url)
    status = page.locator("#queue-status .life")
    expect(status).to_have_text(", running")
    start_job(page)
    execute(told, "UPDATE broker_message SET due_at = due_at - 60000")
    execute(told, "DELETE FROM broker_pulse")
    expect(status).to_have_text(", not running")


class Told:
    """A page whose news the test makes up: each text is one answer to its next poll."""

    def __init__(self, page: Page, html: str) -> None:
        self.page, self.news, self.version = page, [], 0
        page.route("**/jobs/changes*", self.answer)
        page.evaluate(
            "html => document.getElementById('main').insertAdjacentHTML('beforeend', html)", html
        )

    def answer(self, route: Route) -> None:
        if "eventsource" in route.request.resource_type or not self.news:
            route.fulfill(status=204)
            return
        self.version += 1
        headers = {"Live-Version": str(self.version), "Content-Type": "text/html"}
        route.fulfill(body=self.news.pop(0), headers=headers)

    def tell(self, html: str) -> None:
        """Answer the next poll, and wait until the page has taken it in."""
        self.news.append(html)
        live = self.page.locator("#live")
        expect(live).to_have_attribute("data-version", str(self.version + 1))


@pytest.fixture
def page(browse: Browse, told: Site) -> Page:
    if told.environment["LIVE_STREAMS"] != "0":
        pytest.skip("what is swapped is the same however it comes")
    return browse(told.url)


def test_selected_text_stays_until_it_is_selected_no_more(page: Page):
    told = Told(page, '<p id="fact">old words</p>')
    page.evaluate("getSelection().selectAllChildren(document.getElementById('fact'))")
    told.tell('<p id="fact" hx-swap-oob="true">new words</p>')
    assert page.evaluate("getSelection().toString()") == "old words"
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator("#fact")).to_have_text("new words")


def test_field_that_is_being_filled_in_stays_and_the_rest_does_not(page: Page):
    told = Told(page, '<p id="field"><input id="word"></p><p id="fact">old</p>')
    page.locator("#word").fill("half a wo")
    told.tell(
        '<p id="field" hx-swap-oob="true"><input id="word"></p>'
        '<p id="fact" hx-swap-oob="true">new</p>'
    )
    expect(page.locator("#fact")).to_have_text("new")
    expect(page.locator("#word")).to_have_value("half a wo")
    expect(page.locator("#word")).to_be_focused()


def test_focused_button_keeps_the_focus_and_is_renewed(page: Page):
    told = Told(page, '<p id="act"><button id="go">Go</button></p>')
    page.locator("#go").focus()
    told.tell('<p id="act" hx-swap-oob="true"><button id="go">Go on</button></p>')
    expect(page.locator("#go")).to_have_text("Go on")
    expect(page.locator("#go")).to_be_focused()


def test_what_is_opened_stays_open(page: Page):
    told = Told(page, '<div id="box"><details><summary>More</summary>old</details></div>')
    page.locator("#box summary").click()
    told.tell(
        '<div id="box" hx-swap-oob="true"><details><summary>More</summary>new</details></div>'
    )
    expect(page.locator("#box details")).to_have_attribute("open", "")
    expect(page.locator("#box details")).to_contain_text("new")


def test_what_is_there_already_is_not_added_again(page: Page):
    told = Told(page, '<ul id="list"><li id="one">old</li></ul>')
    told.tell('<ul hx-swap-oob="afterbegin:#list"><li id="two">two</li><li id="one">new</li></ul>')
    expect(page.locator("#list li")).to_have_text(["two", "new"])
