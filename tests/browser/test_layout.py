"""What all pages share: rail and menu, sizes, colours, printing, copy buttons, local times."""

import gzip
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

import pytest
from django.template.loader import render_to_string
from playwright.sync_api import Page, Route, expect

from harness.pages import pages_of
from harness.processes import Site
from harness.visitor import Visitor
from tests.browser.conftest import PASSWORD, Browse, Gallery, execute
from tests.browser.test_looks import colour, contrast, run, run_in_both_schemes

WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}
NARROW = {"width": 320, "height": 640}
ZOOMED = {"width": 320, "height": 256}  # 1280 x 1024 at 400 %
MOST_BYTES = 60_000
NEVER = 2**60
STATES = [
    *("queued", "scheduled", "running", "succeeded", "waiting", "failed", "not_sent", "cancelled")
]
LAYOUT_SHIFTS = """() => new Promise((resolve) => {
  const observer = new PerformanceObserver(() => {});
  observer.observe({ type: "layout-shift", buffered: true });
  requestAnimationFrame(() => requestAnimationFrame(() => resolve(
    observer.takeRecords().filter((shift) => !shift.hadRecentInput).map((shift) => shift.value)
  )));
})"""


@pytest.fixture(scope="module")
def visitor(still: Site) -> Visitor:
    """An operator with a job, so that pages of jobs and messages exist."""
    visitor = Visitor(still.url).sign_in(PASSWORD).click()
    visitor.http.headers["Accept"] = "text/html"
    return visitor


@pytest.fixture(scope="module")
def pages(visitor: Visitor) -> dict[str, str]:
    return pages_of(visitor)


def as_visitor(browse: Browse, visitor: Visitor, path: str = "/", **options: Any) -> Page:
    """A page of somebody who has a job."""
    cookies = [
        {"name": cookie.name, "value": cookie.value or "", "url": visitor.url}
        for cookie in visitor.http.cookies
    ]
    state = {"cookies": cookies, "origins": []}
    return browse(visitor.url + path, storage_state=state, **options)


def with_specimens(browse: Browse, site: Site, html: str, script: str = "", **options: Any) -> Page:
    """The home page with some components in it, as the server renders them."""

    def insert(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("</main>", f"{html}</main>"))

    page = browse(f"{site.url}/how-it-works", **options)
    if script:
        page.add_init_script(script)
    page.route(f"{site.url}/", insert)
    return browse.tab(page, f"{site.url}/")


def test_pages_are_found_by_their_links(pages):
    assert {"home", "job_detail", "how_it_works", "catcher", "console_messages"} <= pages.keys()


def test_every_page_has_a_title_a_heading_and_a_description(visitor, pages):
    for name, path in pages.items():
        text = visitor.http.get(visitor.url + path, timeout=30).text
        assert re.search(r"<title>[^<]+</title>", text), name
        assert len(re.findall(r"<h1\b", text)) == 1, name
        assert re.search(r'<meta name="description" content="[^"]{20,160}">', text), name


def test_every_page_is_small_with_all_that_it_loads(visitor, pages):
    sizes: dict[str, int] = {}

    def size(url: str) -> int:
        """Bytes on the wire of a file, which must be compressed if there is something to gain."""
        if url not in sizes:
            answer = visitor.http.get(
                url, headers={"Accept-Encoding": "gzip"}, timeout=30, stream=True
            )
            assert answer.status_code == 200, url
            body = answer.raw.read(decode_content=False)
            if len(body) > 1000:
                assert gzip.decompress(body), url
            sizes[url] = len(body)
        return sizes[url]

    for name, path in pages.items():
        url = visitor.url + path
        text = visitor.http.get(url, timeout=30).text
        links = re.findall(r'<script src="([^"]+)"|<link rel="stylesheet" href="([^"]+)"', text)
        files = [urljoin(url, script or style) for script, style in links]
        assert len(files) >= 3, name
        assert size(url) + sum(map(size, files)) < MOST_BYTES, name


def test_rail_is_beside_the_page_on_a_wide_screen(browse: Browse, still: Site):
    page = browse(still.url, viewport=WIDE)
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
    expect(page.get_by_role("button", name="Menu")).to_be_hidden()
    rail, main = page.locator("#nav").bounding_box(), page.locator("main").bounding_box()
    assert rail["x"] + rail["width"] <= main["x"]


def test_rail_stays_in_sight_when_the_page_is_scrolled(browse: Browse, still: Site):
    page = browse(still.url, viewport={"width": 1280, "height": 500})
    page.evaluate("document.getElementById('main').style.minHeight = '3000px'")
    page.evaluate("scrollTo(0, 1500)")
    expect(page.get_by_role("link", name="E-mail")).to_be_in_viewport()
    page.get_by_role("link", name="How it works").scroll_into_view_if_needed()
    expect(page.get_by_role("link", name="How it works")).to_be_in_viewport()


@pytest.mark.parametrize("name", ["home", "email", "console_messages", "how_it_works"])
def test_page_that_is_open_is_marked_in_the_rail(browse: Browse, visitor, pages, name: str):
    page = as_visitor(browse, visitor, pages[name], viewport=WIDE)
    current = page.locator("#nav [aria-current=page]")
    expect(current).to_have_count(1)
    assert current.get_attribute("href") == pages[name]


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_menu_opens_and_leads_on_a_phone(browse: Browse, still: Site, script: bool):
    page = browse(still.url, viewport=PHONE, java_script_enabled=script)
    expect(page.get_by_role("navigation", name="Pages")).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("navigation", name="Pages")).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="How it works").click()
    page.wait_for_url("**/how-it-works")


def test_menu_is_reached_and_left_by_keyboard(browse: Browse, still: Site):
    page = browse(still.url, viewport=PHONE)
    menu = page.get_by_role("button", name="Menu")
    menu.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Close")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Background job", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("navigation", name="Pages")).to_be_hidden()
    expect(menu).to_be_focused()


def test_whole_menu_can_be_reached_at_400_percent(browse: Browse, still: Site):
    page = browse(still.url, viewport=ZOOMED)
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("link", name="How it works").click()
    page.wait_for_url("**/how-it-works")


def test_keyboard_skips_to_the_content(browse: Browse, still: Site):
    page = browse(still.url, viewport=WIDE)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_no_page_scrolls_sideways(browse: Browse, visitor: Visitor, pages):
    """At 320 pixels, and at 400 %, where the screen is as narrow and low as well."""
    page = as_visitor(browse, visitor)
    widths = {}
    for name, path in pages.items():
        page.set_viewport_size(NARROW)
        browse.tab(page, visitor.url + path)
        for size in (NARROW, ZOOMED):
            page.set_viewport_size(size)
            widths[name, size["height"]] = page.evaluate("document.documentElement.scrollWidth")
    assert set(widths.values()) == {320}, widths


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_shifts_while_a_page_opens(browse: Browse, visitor: Visitor, pages, size):
    page = as_visitor(browse, visitor, viewport=size)
    shifts = {}
    for name, path in pages.items():
        browse.tab(page, visitor.url + path)
        shifts[name] = sum(page.evaluate(LAYOUT_SHIFTS))
    assert {name: shift for name, shift in shifts.items() if shift} == {}


def test_copy_buttons_and_times_keep_their_place_when_the_script_comes(browse: Browse, still: Site):
    time = render_to_string(
        "components/time.html", {"at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)}
    )
    html = f"<p>{render_to_string('components/id.html', {'id': 'msg_1'})}{time}<b>after</b></p>"
    places = []
    for block in (True, False):
        page = browse(f"{still.url}/how-it-works", viewport=WIDE)
        if block:
            browse.expect("Failed to load resource")
            page.route("**/site*.js", lambda route: route.abort())
        page.route(
            f"{still.url}/",
            lambda route: route.fulfill(
                response=(answer := route.fetch()),
                body=answer.text().replace("</main>", f"{html}</main>"),
            ),
        )
        browse.tab(page, f"{still.url}/")
        places.append(page.locator("main b", has_text="after").bounding_box())
    assert places[0] == places[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_no_violation_in_any_state_of_the_layout(
    browse: Browse, still: Site, axe: str, scheme: str, size
):
    pills = "".join(render_to_string("components/state.html", {"state": state}) for state in STATES)
    parts = pills + "".join(
        render_to_string(f"components/{part}.html", context)
        for part, context in [
            ("id", {"id": "msg_1"}),
            ("time", {"at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "with_date": True}),
            ("facts", {"facts": [("Name", "value")]}),
            ("bars", {"bars": [{"state": "failed", "start": 10, "width": 30, "label": "1.2 s"}]}),
            ("code", {"excerpt": {"file": "jobs/tasks.py", "line": 1, "text": "x" * 300}}),
        ]
    )
    chips = '<ul class="chips"><li><a href="#a" aria-current="true">All</a></li></ul>'
    buttons = '<button class="quiet">A</button> <button class="danger">B</button>'
    page = with_specimens(
        browse, still, f"<div>{parts}</div>{chips}{buttons}", viewport=size, color_scheme=scheme
    )
    found = {"plain": run(page, axe)}
    page.evaluate("document.getElementById('offline').hidden = false")
    found["offline"] = run(page, axe)
    if size == PHONE:
        page.get_by_role("button", name="Menu").click()
        found["menu"] = run(page, axe)
    assert {name: violations for name, violations in found.items() if violations} == {}


def test_axe_finds_no_violation_whatever_the_queue_does(browse: Browse, still: Site, axe: str):
    set_due_at = "UPDATE broker_message SET due_at = ? WHERE due_at IS NOT NULL"
    Visitor(still.url).click()
    page, said = browse(still.url), {}
    for state, due_at in [("not known", NEVER), ("not running", 1)]:
        execute(still, set_due_at, due_at)
        expect(page.locator("#queue-status")).to_contain_text(state)
        said[state] = run(page, axe)
    assert said == {"not known": [], "not running": []}


def test_axe_finds_no_violation_on_any_page(browse: Browse, visitor: Visitor, pages, axe: str):
    """On a wide light screen and on a dark phone."""
    page = as_visitor(browse, visitor, reduced_motion="reduce")
    found = {}
    for name, path in pages.items():
        page.set_viewport_size(WIDE)
        browse.tab(page, visitor.url + path)
        page.locator("summary").evaluate_all("all => all.forEach(one => one.click())")
        found |= run_in_both_schemes(page, axe, name, light=WIDE, dark=PHONE)
    assert {name: violations for name, violations in found.items() if violations} == {}


def test_button_has_an_edge_in_forced_colours(browse: Browse, still: Site):
    page = browse(still.url, forced_colors="active")
    button = page.locator("main button").first
    assert button.evaluate("b => getComputedStyle(b).borderTopStyle") == "solid"
    edge, ground = colour(button, "borderTopColor"), colour(button, "backgroundColor")
    assert contrast(edge, ground) >= 3


def test_progress_and_open_page_are_seen_in_forced_colours(browse: Browse, still: Site):
    html = '<progress max="10" value="4" aria-label="Steps"></progress>'
    page = with_specimens(browse, still, html, forced_colors="active", viewport=WIDE)
    bar = page.get_by_role("progressbar", name="Steps", exact=True)
    assert bar.evaluate("bar => getComputedStyle(bar).borderTopWidth") == "1px"
    assert contrast(colour(bar, "borderTopColor"), colour(bar, "backgroundColor")) >= 3
    current = page.locator("#nav [aria-current]")
    assert current.evaluate("link => getComputedStyle(link).outlineStyle") == "solid"


def test_states_are_told_apart_without_colours(browse: Browse, still: Site):
    pills = "".join(render_to_string("components/state.html", {"state": state}) for state in STATES)
    page = with_specimens(browse, still, f'<p id="pills">{pills}</p>', forced_colors="active")
    words = page.locator("#pills .pill").all_inner_texts()
    assert [word.strip() for word in words] == [state.replace("_", " ") for state in STATES]
    drawings = page.locator("#pills svg").evaluate_all("all => all.map((one) => one.innerHTML)")
    alike = {("queued", "scheduled"), ("failed", "not_sent")}
    pairs = zip(STATES, drawings, strict=True)
    by_drawing: dict[str, list[str]] = {}
    for state, drawing in pairs:
        by_drawing.setdefault(drawing.strip(), []).append(state)
    assert {tuple(states) for states in by_drawing.values() if len(states) > 1} == alike


def test_print_leaves_the_content(browse: Browse, still: Site):
    page = browse(still.url, viewport=WIDE)
    page.emulate_media(media="print")
    expect(page.locator("#nav")).to_be_hidden()
    expect(page.locator("main button").first).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.locator("main").bounding_box()["x"] == 0


MESSAGE_ID = "msg_01a2123f2fe703064cc68ce41deb17c22768"


def copy_button(browse: Browse, still: Site, **options: Any) -> tuple[Page, Any]:
    html = render_to_string("components/id.html", {"id": MESSAGE_ID})
    page = with_specimens(browse, still, html, **options)
    return page, page.get_by_role("button", name=f"Copy {MESSAGE_ID}")


def test_copy_button_copies_and_says_so(browse: Browse, still: Site):
    page, button = copy_button(browse, still, permissions=["clipboard-read", "clipboard-write"])
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#announcement")).to_have_text(f"Copied {MESSAGE_ID}")
    expect(button).to_have_class("copy copied")
    assert page.evaluate("navigator.clipboard.readText()") == MESSAGE_ID
    expect(button).to_have_class("copy")


def test_copy_that_the_browser_forbids_is_said(browse: Browse, still: Site):
    script = "navigator.clipboard.writeText = () => Promise.reject(new Error('no'))"
    page, button = copy_button(browse, still, script=script)
    button.click()
    expect(page.locator("#announcement")).to_have_text("The browser does not allow copying.")


@pytest.mark.parametrize(
    "options",
    [
        {"java_script_enabled": False},
        {"script": "Object.defineProperty(navigator, 'clipboard', { value: undefined })"},
    ],
    ids=["no script", "no clipboard"],
)
def test_there_is_no_copy_button_where_nothing_can_be_copied(browse: Browse, still: Site, options):
    page, button = copy_button(browse, still, **options)
    expect(page.get_by_text(MESSAGE_ID)).to_be_visible()
    expect(button).to_have_count(0)


def test_copy_button_that_htmx_brings_works(browse: Browse, still: Site):
    page = browse(still.url, permissions=["clipboard-read", "clipboard-write"])
    html = render_to_string("components/id.html", {"id": MESSAGE_ID})
    page.evaluate("html => htmx.swap('#main', html, { swapStyle: 'beforeend' })", html)
    page.get_by_role("button", name=f"Copy {MESSAGE_ID}").click()
    expect(page.locator("#announcement")).to_have_text(f"Copied {MESSAGE_ID}")


def moments() -> str:
    at = datetime(2026, 1, 2, 23, 4, 5, tzinfo=UTC)
    return "".join(
        render_to_string("components/time.html", {"at": at, "with_date": with_date})
        for with_date in (False, True)
    )


def test_moments_are_shown_in_the_visitors_zone_with_utc_beside(browse: Browse, still: Site):
    page = with_specimens(browse, still, moments(), timezone_id="Asia/Kolkata", locale="en-US")
    times = page.locator("main time[data-local]")
    assert times.all_inner_texts() == ["04:34:05", "2026-01-03 04:34:05"]
    assert {time.get_attribute("title") for time in times.all()} == {"2026-01-02 23:04:05 UTC"}


def test_moments_are_utc_and_say_so_without_a_script(browse: Browse, still: Site):
    page = with_specimens(
        browse, still, moments(), java_script_enabled=False, timezone_id="Asia/Kolkata"
    )
    told = [" ".join(text.split()) for text in page.locator("main time").all_inner_texts()]
    assert told == ["23:04:05 UTC", "2026-01-02 23:04:05 UTC"]


@pytest.mark.parametrize("width", [320, 900, 1280, 1700])
def test_row_shows_how_long_a_job_waits(browse: Browse, gallery: Gallery, width: int):
    view = {"width": width, "height": 800}
    page = browse(gallery.url, storage_state=gallery.storage_state, viewport=view)
    says = page.locator(f"#state-{gallery.jobs['waiting']} .says")
    around = says.bounding_box()
    countdown = says.locator(".countdown").bounding_box()
    assert around and countdown
    for start, size in (("x", "width"), ("y", "height")):
        assert around[start] <= countdown[start]
        assert countdown[start] + countdown[size] <= around[start] + around[size]
