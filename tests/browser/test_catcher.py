"""The catcher as visitors see it: live, with hostile requests, on phones, without a script."""

import gzip
import re
from typing import Any
from uuid import uuid4

import pytest
import requests
from playwright.sync_api import Page, Route, expect

from harness.processes import Site
from harness.waiting import eventually
from tests.browser.conftest import Browse
from tests.browser.test_looks import run

SCRIPT = "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"
HOSTILE: list[dict[str, Any]] = [
    {"data": SCRIPT.encode(), "headers": {"Content-Type": "text/html"}},
    {"data": b"\x89PNG\r\n\x1a\n\0\xff\xfe"},
    {"data": b"[" * 900 + b"1," * 31_000 + b"1" + b"]" * 900},
    {"data": "\u202e}/*reversed\u2066 \x1b[31m".encode()},
    {"data": ("Z\u0310\u0351" * 9000).encode()},
    {"data": b"x" * 200_000},
    {"headers": {"X-Long": "y" * 6000, "Authorization": "Bearer hush", "Cookie": "a=hush"}},
    {"headers": {"X-Html": SCRIPT, "Upstash-Signature": "a.eyJ4IjoiPGI-In0.c"}},
]


class Caught:
    """A bin of its own on a running site."""

    def __init__(self, site: Site) -> None:
        self.name = uuid4().hex
        self.url = f"{site.url}/catcher/{self.name}/"

    def send(self, path: str = "", method: str = "POST", **options: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=60, **options)


@pytest.fixture
def own(still: Site) -> Caught:
    return Caught(still)


def rows(page: Page):
    return page.locator("#entries > li")


def test_requests_arrive_on_an_open_page_and_the_first_is_opened(browse: Browse, own: Caught):
    page = browse(own.url)
    expect(page.get_by_text("Nothing yet.")).to_be_visible()
    own.send("first?x=1", json={"hello": "world"})
    expect(rows(page)).to_have_count(1)
    expect(page.locator("#detail pre").first).to_have_text('{\n  "hello": "world"\n}')
    expect(page.get_by_text("Nothing yet.")).to_be_hidden()
    for number in range(9):
        own.send(f"later/{number}")
    expect(rows(page)).to_have_count(10)
    expect(page.locator("#count")).to_have_text("10 requests")
    expect(rows(page).first).to_contain_text("/later/8")
    expect(page.locator("#detail")).to_contain_text("/first?x=1")
    expect(page.locator("[aria-current=true]")).to_contain_text("/first?x=1")


def test_ten_alike_take_ten_rows_of_44_pixels(browse: Browse, own: Caught):
    for _ in range(10):
        own.send(json={"hello": "world"})
    page = browse(own.url)
    expect(rows(page)).to_have_count(10)
    heights = rows(page).evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
    assert all(44 <= height <= 45 for height in heights), heights


def test_chosen_request_is_shown_beside_the_list_and_stays(browse: Browse, own: Caught):
    for word in ("one", "two", "three"):
        own.send(word, data=word)
    page = browse(own.url)
    link = rows(page).nth(2).get_by_role("link")
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Body")).to_have_text("one")
    expect(page.locator("#announcement")).to_have_text("POST /one is shown.")
    expect(link).to_be_focused()
    expect(page.locator("[aria-current=true]")).to_have_count(1)
    expect(link).to_have_attribute("aria-current", "true")
    own.send("four", data="four")
    expect(rows(page)).to_have_count(4)
    expect(page.get_by_label("Body")).to_have_text("one")
    page.reload()
    expect(page.get_by_label("Body")).to_have_text("one")


def test_answer_is_chosen_and_open_pages_say_so(browse: Browse, own: Caught):
    own.send()
    page = browse(own.url)
    other = browse.tab(page.context.new_page(), own.url)
    page.get_by_role("link", name="Change the answer").click()
    page.get_by_label("Status").fill("503")
    page.get_by_label("Body").fill("try later")
    page.get_by_role("button", name="Save").click()
    for tab in (page, other):
        expect(tab.locator("#answer")).to_contain_text(
            "Answers 503 with a body of its own, 9 characters."
        )
    answer = own.send()
    assert (answer.status_code, answer.text) == (503, "try later")


def test_request_is_sent_again_and_the_bin_cleared(browse: Browse, own: Caught):
    own.send("again", data="hello")
    page = browse(own.url)
    other = browse.tab(page.context.new_page(), own.url)
    page.get_by_role("button", name="Send again").click()
    expect(page.locator("#detail")).to_contain_text("sent again")
    for tab in (page, other):
        expect(rows(tab)).to_have_count(2)
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("It has 2 requests.")).to_be_visible()
    page.get_by_role("button", name="Clear").click()
    for tab in (page, other):
        expect(rows(tab)).to_have_count(0)
        expect(tab.get_by_role("heading", name="Send something")).to_be_visible()


def test_url_and_curl_are_copied(browse: Browse, own: Caught):
    own.send("x", data="it's", headers={"X-A": "1"})
    page = browse(own.url)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy http").click()
    expect(page.locator("#announcement")).to_contain_text("Copied http://")
    assert page.evaluate("navigator.clipboard.readText()") == own.url
    button = page.get_by_role("button", name="Copy as curl")
    button.click()
    expect(page.locator("#announcement")).to_have_text("Copied as curl")
    expect(button).to_have_class("copy words copied")
    page.wait_for_function("async () => (await navigator.clipboard.readText()).startsWith('curl')")
    text = page.evaluate("navigator.clipboard.readText()")
    assert f"{own.url}x" in text
    assert "-H 'X-A: 1'" in text


def test_values_of_a_request_are_readable_on_a_phone(browse: Browse, own: Caught):
    """Name above value, and no value is broken into a few letters a line."""
    own.send(headers={"X-Long-Name-Of-A-Header": "a value of some words that is read at once"})
    page = browse(own.url, viewport={"width": 320, "height": 640})
    widths = page.locator("#detail dd").evaluate_all("all => all.map(one => one.offsetWidth)")
    assert widths and min(widths) > 200, widths


def test_new_bin_is_made_and_listed(browse: Browse, still: Site):
    page = browse(f"{still.url}/catcher/")
    page.get_by_role("button", name="New bin").click()
    page.wait_for_url("**/catcher/*/")
    name = page.url.split("/")[-2]
    browse.tab(page, f"{still.url}/catcher/")
    expect(page.locator(".bins li")).to_have_count(2)
    expect(page.locator(".bins")).to_contain_text(name)


def test_request_that_was_chosen_last_is_shown(browse: Browse, own: Caught):
    """The answer to an earlier choice must not replace the place of this one's."""
    browse.expect("htmx:afterRequest", "htmx:sendAbort")  # which htmx logs
    for word in ("one", "two", "three"):
        own.send(word, data=word)
    page = browse(own.url)
    held: list[Route] = []
    expect(rows(page)).to_have_count(3)
    page.route("**/catcher/~/*/*", lambda route: held.append(route))
    for number in (1, 2):
        rows(page).nth(number).get_by_role("link").click()
        eventually(lambda count=number: page.evaluate("1") and len(held) == count)
    ended: list[str] = []
    for event in ("requestfinished", "requestfailed"):
        page.on(event, lambda request: ended.append(request.url))
    held[0].continue_()
    if not held[0].request.failure:
        eventually(lambda: page.evaluate("1") and ended, what="the end of the first request")
    held[1].continue_()
    expect(page.get_by_label("Body")).to_have_text("one")
    expect(rows(page).nth(2).get_by_role("link")).to_have_attribute("aria-current", "true")
    expect(page.locator("#offline")).to_be_hidden()


@pytest.mark.parametrize("width", [320, 1280])
def test_hostile_requests_are_only_text(browse: Browse, own: Caught, width: int):
    """The browser complains about any script; none runs, and nothing is wider than the page."""
    for options in HOSTILE:
        own.send("%3Cb%3E" + "deep/" * 60 + "?q=<b>'\"", **options)
    own.send(method="METHOD-OF-16-CHR")
    page = browse(own.url, viewport={"width": width, "height": 800})
    expect(rows(page)).to_have_count(len(HOSTILE) + 1)
    for number in range(len(HOSTILE) + 1):
        link = rows(page).nth(number).get_by_role("link")
        link.click()
        # The newest is marked before it is clicked, so wait for the address as well.
        expect(page).to_have_url(re.compile(rf"\?{link.get_attribute('id').replace('-', '=')}$"))
        expect(link).to_have_attribute("aria-current", "true")
        page.locator("summary").click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("window.harmed") is None
    assert page.locator("main b, main img, main script").count() == 0
    assert "hush" not in page.content()


def test_without_a_script_a_request_is_chosen_sent_again_and_cleared(browse: Browse, own: Caught):
    for word in ("one", "two"):
        own.send(word, data=word)
    page = browse(own.url, java_script_enabled=False)
    assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "2"
    rows(page).nth(1).get_by_role("link").click()
    expect(page.get_by_label("Body")).to_have_text("one")
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)
    page.get_by_role("button", name="Send again").click()
    expect(rows(page)).to_have_count(3)
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.get_by_text("Nothing yet.")).to_be_visible()


def test_axe_finds_no_violation_in_the_catcher(browse: Browse, own: Caught, still: Site, axe: str):
    scheme = "dark"  # test_layout.py looks at every page in light
    full = Caught(still)
    for options in HOSTILE:
        full.send(**options)
    page = browse(f"{still.url}/catcher/", color_scheme=scheme)
    found = {"list": run(page, axe)}
    answer = full.url.replace("/catcher/", "/catcher/~/") + "answer"
    for name, url in {"empty": own.url, "full": full.url, "answer": answer}.items():
        browse.tab(page, url)
        found[name] = run(page, axe)
    page.get_by_label("Status").evaluate("field => { field.form.noValidate = true; }")
    page.get_by_label("Status").fill("7")
    browse.expect("400 (Bad Request)")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#id_status_error")).to_be_visible()
    found["refused"] = run(page, axe)
    assert {name: those for name, those in found.items() if those} == {}


def test_page_of_a_full_bin_is_small_when_compressed(own: Caught):
    """500 rows; the limit of every page is 60 KB."""
    with requests.Session() as session:
        for number in range(500):
            session.post(f"{own.url}path/{number}", json={"hello": "world"}, timeout=60)
        page = session.get(own.url, headers={"Accept": "text/html"}, timeout=60)
    assert page.text.count('<a id="request-') == 500
    assert len(gzip.compress(page.content)) < 60_000
