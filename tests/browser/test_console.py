"""The queue's pages in a real browser: live lists, actions, hostile data, every size and scheme."""

import re
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Page, expect

from harness.processes import Site, site
from tests.browser.conftest import Browse, execute
from tests.browser.test_looks import run

TOKEN = "token-of-the-console-site"
PATHS = ["messages", "dead-letters", "queues", "schedules", "url-groups"]
EVIL = "<img src=x onerror=alert(1)>‮" + "W" * 3000


def start(folder, **environment: str) -> Site:
    return site(folder, BROKER_TOKEN=TOKEN, RUN_DISPATCHER="0", **environment)


@pytest.fixture(scope="module")
def open_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with start(tmp_path_factory.mktemp("open"), CONSOLE_PASSWORD="sesame") as running:
        running.start_web()
        yield running


@pytest.fixture(scope="module")
def state(open_site: Site) -> dict:
    """The cookies of an operator who has signed in."""
    http = requests.Session()
    form = http.get(f"{open_site.url}/queue/sign-in", timeout=30).text
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[1]
    http.post(
        f"{open_site.url}/queue/sign-in",
        {"csrfmiddlewaretoken": token, "password": "sesame"},
        timeout=30,
        allow_redirects=False,
    )
    cookies = [{"name": c.name, "value": c.value, "url": open_site.url} for c in http.cookies]
    return {"cookies": cookies, "origins": []}


def publish(site: Site, to: str = "http://target.test/", **options: str) -> str:
    headers = {f"Upstash-{name.replace('_', '-')}": value for name, value in options.items()}
    answer = requests.post(
        f"{site.url}/v2/publish/{to}",
        headers={"Authorization": f"Bearer {TOKEN}"} | headers,
        data=b'{"hello":"world"}',
        timeout=30,
    )
    return answer.json()["messageId"]


def bury(site: Site, message_id: str) -> None:
    """Make a dead letter of a message."""
    execute(
        site,
        "UPDATE broker_message SET state = 'FAILED', due_at = NULL, expires_at = 9e12"
        " WHERE message_id = ?",
        message_id,
    )
    execute(
        site,
        "INSERT INTO broker_deadletter (account, failed_at, response_status, response_header,"
        " response_body, message_id) SELECT 'site', created_at, 500, '{}', ?, id"
        " FROM broker_message WHERE message_id = ?",
        b"a reason of many words " * 20,
        message_id,
    )


@pytest.fixture(scope="module")
def filled(open_site: Site) -> str:
    """Messages, good and evil, and one of everything else; the id of the evil one."""
    ask = {"headers": {"Authorization": f"Bearer {TOKEN}"}, "timeout": 30}
    publish(open_site, label="good", flow_control_key="k", flow_control_value="rate=1")
    bury(open_site, publish(open_site, label="dead"))
    evil = publish(open_site, forward_x_evil="x" * 3000)
    execute(
        open_site,
        "UPDATE broker_message SET url = ?, labels = ?, body = ? WHERE message_id = ?",
        f"http://{EVIL}",
        f",{EVIL},",
        EVIL.encode(),
        evil,
    )
    requests.post(f"{open_site.url}/v2/queues", json={"queueName": "q" * 200}, **ask)  # noqa: S113
    ends = {"endpoints": [{"url": f"http://a.test/{'x' * 500}"}]}
    requests.post(f"{open_site.url}/v2/topics/group/endpoints", json=ends, **ask)  # noqa: S113
    cron = {"Upstash-Cron": "0 0 1 1 *"} | ask["headers"]
    requests.post(f"{open_site.url}/v2/schedules/http://a.test/", headers=cron, timeout=30)
    return evil


def visit(browse: Browse, site: Site, state: dict, path: str, **options) -> Page:
    return browse(f"{site.url}/queue/{path}", storage_state=state, **options)


def test_operator_signs_in_and_out(browse: Browse, open_site: Site):
    page = browse(f"{open_site.url}/queue/queues")
    page.get_by_label("Password").fill("sesame")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Queues and flow control")
    page.get_by_role("button", name="Sign out").click()
    browse.tab(page, f"{open_site.url}/queue/queues")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_new_message_arrives_on_an_open_page_and_the_rest_stays(
    browse: Browse, open_site: Site, state: dict, filled: str
):
    page = visit(browse, open_site, state, "messages")
    first = page.locator("#messages > li").first
    expect(first).to_be_visible()
    first.evaluate("element => { element.dataset.kept = 'yes' }")
    page.locator("details.filters summary").click()
    publish(open_site, "http://new.test/arrived")
    expect(page.locator("#messages > li").first).to_contain_text("http://new.test/arrived")
    assert page.locator("[data-kept=yes]").count() == 1
    assert page.locator("details.filters").evaluate("element => element.open")


def test_page_that_is_open_when_its_session_ends_comes_to_the_form(
    browse: Browse, open_site: Site, state: dict
):
    browse.expect("404 (Not Found)")
    page = visit(browse, open_site, state, "messages")
    expect(page.get_by_role("heading", level=1)).to_have_text("Messages")
    page.context.clear_cookies(name="operator")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_message_is_cancelled_on_its_page(browse: Browse, open_site: Site, state: dict):
    message_id = publish(open_site, delay="1h")
    page = visit(browse, open_site, state, f"messages/{message_id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#message-state")).to_contain_text("cancelled")
    expect(page.get_by_text("Message cancelled.")).to_be_visible()


@pytest.mark.parametrize("javascript", [True, False])
def test_dead_letter_is_selected_and_retried(
    browse: Browse, open_site: Site, state: dict, javascript: bool
):
    label = f"retried-{javascript}"
    bury(open_site, publish(open_site, label=label))
    page = visit(
        browse, open_site, state, f"dead-letters?label={label}", java_script_enabled=javascript
    )
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Retry selected").click()
    expect(page.get_by_text("1 dead letter retried.")).to_be_visible()
    expect(page.get_by_text("None that match.")).to_be_visible()


def test_letters_come_and_go_on_an_open_page_and_the_selection_stays(
    browse: Browse, open_site: Site, state: dict
):
    bury(open_site, first := publish(open_site, label="open"))
    page = visit(browse, open_site, state, "dead-letters?label=open")
    page.get_by_role("checkbox").check()
    bury(open_site, publish(open_site, label="open"))
    expect(page.locator("#letters > li")).to_have_count(2)
    expect(page.get_by_role("checkbox").nth(1)).to_be_checked()
    expect(page.locator("#letter-count")).to_have_text("2 dead letters that match")
    execute(
        open_site,
        "DELETE FROM broker_deadletter WHERE message_id IN"
        " (SELECT id FROM broker_message WHERE message_id = ?)",
        first,
    )
    expect(page.locator("#letters > li")).to_have_count(1)


@pytest.mark.parametrize("javascript", [True, False])
def test_nothing_is_selected_and_that_is_said(
    browse: Browse, open_site: Site, state: dict, javascript: bool
):
    bury(open_site, publish(open_site, label="unselected"))
    page = visit(
        browse, open_site, state, "dead-letters?label=unselected", java_script_enabled=javascript
    )
    page.get_by_role("button", name="Retry selected").click()
    expect(page.get_by_role("alert")).to_have_text("Select at least one message.")


def test_group_is_deleted_after_a_question(browse: Browse, open_site: Site, state: dict):
    ask = {"headers": {"Authorization": f"Bearer {TOKEN}"}, "timeout": 30}
    ends = {"endpoints": [{"url": "http://a.test/"}]}
    requests.post(f"{open_site.url}/v2/topics/short/endpoints", json=ends, **ask)  # noqa: S113
    page = visit(browse, open_site, state, "url-groups", java_script_enabled=False)
    page.get_by_role("button", name="Delete short…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete URL group short?")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("URL group short deleted.")).to_be_visible()


def test_rows_of_messages_are_one_line_of_44_pixels_each(
    browse: Browse, open_site: Site, state: dict, filled: str
):
    url = "http://long.test/" + "path/" * 60
    publish(open_site, url, label="a-label-that-is-rather-long", queue_name="q")
    size = {"width": 1280, "height": 800}
    page = visit(browse, open_site, state, "messages", viewport=size)
    rows = page.locator("#messages > li")
    expect(rows).not_to_have_count(0)
    boxes = rows.evaluate_all(
        "all => all.map(one => [one.getBoundingClientRect().height,"
        " one.querySelector('.to').getBoundingClientRect().x,"
        " one.querySelector('time').getBoundingClientRect().x])"
    )
    assert all(44 <= height <= 45 for height, _, _ in boxes), boxes
    assert len({(to, time) for _, to, time in boxes}) == 1, boxes


def test_all_that_match_are_deleted_after_a_question(browse: Browse, open_site: Site, state: dict):
    for _ in range(2):
        bury(open_site, publish(open_site, label="all"))
    page = visit(browse, open_site, state, "dead-letters?label=all")
    page.get_by_role("button", name="Delete all that match").click()
    expect(page.get_by_text("There are 2 now.")).to_be_visible()
    page.get_by_role("button", name="Delete all").click()
    expect(page.get_by_text("2 dead letters deleted.")).to_be_visible()


def test_no_page_scrolls_sideways_at_320_pixels(
    browse: Browse, open_site: Site, state: dict, filled: str
):
    size = {"width": 320, "height": 640}
    page = visit(browse, open_site, state, "messages", viewport=size)
    widths = {}
    for path in [*PATHS, f"messages/{filled}"]:
        browse.tab(page, f"{open_site.url}/queue/{path}")
        page.locator("main summary").evaluate_all("all => all.forEach(one => one.click())")
        widths[path] = page.evaluate("document.documentElement.scrollWidth")
    assert set(widths.values()) == {320}, widths


def test_axe_finds_no_violation(
    browse: Browse, open_site: Site, state: dict, filled: str, axe: str
):
    scheme = "dark"  # test_layout.py looks at every page in light
    browse.expect("404 (Not Found)", "400 (Bad Request)")
    page = visit(browse, open_site, state, "messages", color_scheme=scheme)
    violations = {}
    paths = [*PATHS, f"messages/{filled}", "messages?label=none", "messages?state=x", "sign-in"]
    for path in paths:
        browse.tab(page, f"{open_site.url}/queue/{path}")
        violations[path] = run(page, axe)
    stranger = browse(f"{open_site.url}/queue/sign-in", color_scheme=scheme)
    violations["form"] = run(stranger, axe)
    assert {path: found for path, found in violations.items() if found} == {}


def test_pages_work_without_javascript(browse: Browse, open_site: Site, state: dict, filled: str):
    page = visit(browse, open_site, state, "messages", java_script_enabled=False)
    page.get_by_role("link", name="failed").click()
    expect(page.locator("#messages > li")).not_to_have_count(0)
    page.locator("#messages a.to").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Message")


def test_pages_without_a_password_are_off(browse: Browse, live: Site):
    browse.expect("404 (Not Found)")
    page = browse(f"{live.url}/queue/messages")
    expect(page.get_by_text("Set CONSOLE_PASSWORD and restart the site.")).to_be_visible()
