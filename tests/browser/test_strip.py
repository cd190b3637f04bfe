"""The strip in the browser: it explains, follows a job live, and stays as it was left."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from harness.processes import Site
from tests.browser.conftest import Browse, Gallery, failed_with, moment, paint, start_job

BOXES = ["browser", "queue", "post", "task"]


def head(page: Page, key: str) -> Locator:
    return page.locator(f"#way-{key}-head")


def open_box(page: Page, key: str) -> Locator:
    """Open a box as a visitor does; the box."""
    box = page.locator(f"#way-{key}")
    box.locator("> summary .name").click()
    expect(box).to_have_attribute("open", "")
    return box


def test_before_the_first_job_the_strip_explains_itself(browse: Browse, live: Site):
    page = browse(live.url)
    expect(page.get_by_role("region", name="The way of a job: an example")).to_be_visible()
    for key in BOXES:
        expect(head(page, key)).to_have_class(re.compile("ahead"))
        expect(open_box(page, key).locator("figure.code").first).to_be_visible()


@pytest.fixture
def finished(browse: Browse, live: Site) -> Iterator[Page]:
    """A page on which a job has run; two boxes have been open all the while."""
    page = browse(live.url)
    open_box(page, "post")
    open_box(page, "task")
    page.evaluate("""() => {
      window.shown = [];
      new MutationObserver(() => {
        const amount = document.getElementById("way-task-head").textContent.match(/\\d+ of 10/);
        if (amount && !window.shown.includes(amount[0])) window.shown.push(amount[0]);
      }).observe(document.getElementById("way-task"), { childList: true, subtree: true });
      window.code = document.querySelector("#way-task-code pre");
    }""")
    example = page.locator("#way-step-1").get_attribute("data-version")
    start_job(page)
    expect(page.locator("#way-step-1")).not_to_have_attribute("data-version", example)
    page.evaluate("window.first = document.getElementById('way-step-1')")
    expect(head(page, "task")).to_contain_text("succeeded")
    yield page


def test_a_jobs_way_is_shown_live_and_nothing_is_taken_from_the_visitor(finished: Page):
    for key in BOXES:
        expect(head(finished, key)).to_have_class(re.compile("succeeded"))
    expect(head(finished, "task")).to_have_text(re.compile(r"10 of 10 steps in \d+\.\d\d s"))
    expect(finished.locator("#way-steps li")).to_have_count(10)
    assert len(finished.evaluate("window.shown")) >= 2
    for key in ("post", "task"):
        expect(finished.locator(f"#way-{key}")).to_have_attribute("open", "")
    assert finished.evaluate("window.first.isConnected && window.code.isConnected")
    expect(finished.locator("#way-back")).to_contain_text("succeeded")


def test_home_has_the_answer_with_its_time_live_and_after_a_reload(finished: Page):
    answered = re.compile(r"HTTP 200\s+attempt 1: \d\.\d\d s")
    expect(head(finished, "post")).to_have_text(answered)
    waited = " ".join(head(finished, "queue").inner_text().split())
    finished.reload()
    expect(head(finished, "post")).to_have_text(answered)
    assert " ".join(head(finished, "queue").inner_text().split()) == waited


def test_opened_boxes_show_the_real_request_and_its_claims(finished: Page, live: Site):
    facts = finished.locator("#way-post-facts")
    expect(facts).to_contain_text(f"{live.url}/api/long-task")
    expect(facts).to_contain_text("Claim jti")
    expect(facts).to_contain_text("The signature fits: the current key")
    expect(finished.locator("#way-post")).not_to_contain_text("eyJh")


def test_beside_the_strip_the_visitors_bin_fills(finished: Page):
    expect(finished.locator("#caught li")).to_have_count(10)
    expect(finished.locator("#caught li").first).to_contain_text("POST")


@pytest.fixture
def looking(browse: Browse, gallery: Gallery) -> Page:
    """A visitor's page of a job that waits for its second attempt."""
    url = f"{gallery.url}/jobs/{gallery.jobs['waiting']}"
    return browse(url, storage_state=gallery.storage_state)


def test_retry_is_in_the_queue_with_a_countdown_and_the_reason(looking: Page):
    queue = head(looking, "queue")
    expect(queue).to_contain_text("attempt 2 of 4")
    expect(queue).to_contain_text("step 4: HTTP 500")
    before = int(queue.locator(".countdown").inner_text().split()[0])
    expect(queue.locator(".countdown")).not_to_have_text(f"{before} s")
    assert 0 < int(queue.locator(".countdown").inner_text().split()[0]) < before


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>" + "w" * 3000


def test_hostile_words_run_no_script_and_break_no_layout(
    browse: Browse, still: Site, gallery: Gallery
):
    page = browse(still.url, viewport={"width": 320, "height": 800})
    job_id = start_job(page)
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    columns = failed_with(HOSTILE) | {"status": "waiting", "started_at": moment(-5)}
    columns |= {"last_attempted_at": moment(-5), "attempts": 1, "next_attempt_at": moment(900)}
    paint(still, job_id, **columns)
    expect(head(page, "queue")).to_contain_text("<script>alert(1)</script>")
    for key in BOXES:
        open_box(page, key)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_without_a_script_the_boxes_open_and_a_reload_brings_the_news(browse: Browse, live: Site):
    page = browse(live.url, java_script_enabled=False)
    page.get_by_role("button", name="Start Background Job").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Job ")
    expect(head(page, "task")).to_contain_text("succeeded")  # the page refreshes itself
    expect(open_box(page, "post").locator("dl")).to_contain_text("Claim iss")


def test_boxes_open_by_keyboard(browse: Browse, live: Site):
    page = browse(live.url)
    page.locator("#way-queue > summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#way-queue")).to_have_attribute("open", "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_axe_finds_nothing_on_a_page_with_all_boxes_open(
    browse: Browse, gallery: Gallery, axe: str, scheme: str, width: int
):
    page = browse(
        f"{gallery.url}/jobs/{gallery.jobs['failed']}",
        storage_state=gallery.storage_state,
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
    )
    for key in BOXES:
        open_box(page, key)
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    violations = [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]]
    assert violations == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_row_on_wide_screens_and_column_on_narrow_ones(browse: Browse, live: Site):
    page = browse(live.url, viewport={"width": 1280, "height": 900})

    def tops() -> set[float]:
        boxes = [page.locator(f"#way-{key}").bounding_box() for key in BOXES]
        return {box["y"] for box in boxes}

    assert len(tops()) == 1
    page.set_viewport_size({"width": 390, "height": 800})
    assert len(tops()) == 4
