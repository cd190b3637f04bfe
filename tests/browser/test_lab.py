"""The failure lab in the browser: a retry, a dead letter, its way back, and the refusals."""

import re

from playwright.sync_api import Page, expect

from harness.processes import Site
from harness.waiting import eventually
from tests.browser.conftest import Browse
from tests.browser.test_strip import head


def start(page: Page, scenario: str) -> str:
    """Choose a failure and click; the job's id."""
    page.get_by_label("Failure lab").select_option(scenario)
    with page.expect_response("**/lab/start") as answer:
        page.get_by_role("button", name="Start with a failure").click()
    return re.search(r'id="job-(\w+)"', answer.value.text())[1]


def test_failure_is_watched_on_its_way_back_to_the_queue_and_to_its_success(
    browse: Browse, live: Site
):
    page = browse(live.url)
    start(page, "target-fails-once")
    expect(head(page, "queue")).to_contain_text("attempt 2 of 3")
    expect(head(page, "queue")).to_contain_text("step 2: HTTP 500")
    expect(head(page, "queue").locator(".countdown")).to_be_visible()
    expect(head(page, "task")).to_contain_text("succeeded")
    expect(head(page, "queue")).to_contain_text("delivered")


def test_endpoint_that_hangs_is_watched_through_all_three_attempts(browse: Browse, live: Site):
    page = browse(live.url)
    start(page, "endpoint-hangs")
    for number in (2, 3):
        expect(head(page, "queue")).to_contain_text(f"attempt {number} of 3")
        expect(head(page, "queue")).to_contain_text("step 2: the delivery was cut off")
        expect(head(page, "post")).to_contain_text(f"attempt {number - 1}")
        expect(head(page, "post")).to_contain_text("not answered in time")
    expect(head(page, "queue")).to_contain_text("gave up")
    expect(head(page, "post")).to_contain_text(re.compile(r"no answer\s+attempt 3: \d\.\d\d s"))


def test_failed_job_that_is_delivered_again_shows_the_success_in_place(browse: Browse, live: Site):
    page = browse(live.url)
    job_id = start(page, "endpoint-refuses")
    expect(head(page, "post")).to_contain_text("HTTP 489")
    page.goto(f"{live.url}/jobs/{job_id}")
    page.wait_for_timeout(1100)  # what the queue's clock may differ by
    page.get_by_role("button", name="Deliver the same message again").click()
    expect(page.locator("#trial")).to_contain_text("The job had failed, so it ran again")
    expect(head(page, "post")).to_contain_text(re.compile(r"HTTP 200\s+attempt 2:"))
    expect(page.locator("#bars svg").last).to_have_class("bar succeeded")
    expect(page.get_by_role("button", name="Retry the dead letter")).to_have_count(0)
    expect(page.locator("#trial")).to_contain_text("The job had failed, so it ran again")


def test_dead_letter_is_watched_and_retried(browse: Browse, live: Site):
    page = browse(live.url)
    job_id = start(page, "endpoint-refuses")
    expect(head(page, "queue")).to_contain_text("gave up")
    page.goto(f"{live.url}/jobs/{job_id}")
    expect(head(page, "queue")).to_contain_text("dead letter")
    page.get_by_role("button", name="Retry the dead letter").click()
    expect(page.locator("#trial")).to_contain_text("on its way again")

    def succeeded() -> bool:
        page.reload()
        return "succeeded" in head(page, "task").inner_text()

    eventually(succeeded, what="the job's success")
    expect(head(page, "task")).to_contain_text("3 of 3 steps")


def test_second_delivery_is_thanked_and_forgery_is_refused(browse: Browse, live: Site):
    page = browse(live.url)
    job_id = start(page, "well")
    expect(head(page, "task")).to_contain_text("succeeded")
    page.goto(f"{live.url}/jobs/{job_id}")
    page.get_by_role("button", name="Deliver the same message again").click()
    expect(page.locator("#trial")).to_contain_text("HTTP 200")
    page.locator("#trial summary").click()
    expect(page.locator("#trial")).to_contain_text("the job has ended: succeeded")
    page.get_by_role("button", name="Forge a signature").click()
    expect(page.locator("#trial")).to_contain_text("HTTP 403")
    page.locator("#trial summary").click()
    expect(page.locator("#trial")).to_contain_text("invalid signature")
    expect(page.locator("#trial figure.code").first).to_contain_text("jobs/signatures.py")


def test_lab_works_without_a_script(browse: Browse, live: Site):
    page = browse(live.url, java_script_enabled=False)
    page.get_by_label("Failure lab").select_option("endpoint-refuses")
    page.get_by_role("button", name="Start with a failure").click()
    expect(head(page, "queue")).to_contain_text("gave up")  # the page refreshes itself
    page.get_by_role("button", name="Forge a signature").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("A forged signature")
    expect(page.get_by_role("main")).to_contain_text("HTTP 403")
    page.get_by_role("link", name="Back to job").click()
    expect(head(page, "queue")).to_contain_text("gave up")


def test_form_of_a_page_that_is_too_old_says_so(browse: Browse, live: Site):
    browse.expect("403")
    page = browse(live.url)
    page.context.clear_cookies()
    page.get_by_role("button", name="Start with a failure").click()
    expect(page.locator("#result")).to_contain_text("This page is too old.")


def test_axe_finds_nothing_in_the_lab_and_its_outcomes(browse: Browse, live: Site, axe: str):
    page = browse(live.url, viewport={"width": 320, "height": 800})
    page.evaluate(axe)
    assert page.evaluate("axe.run().then((found) => found.violations.map((v) => v.id))") == []
    job_id = start(page, "well")
    expect(head(page, "task")).to_contain_text("succeeded")
    page.goto(f"{live.url}/jobs/{job_id}")
    page.get_by_role("button", name="Forge a signature").click()
    page.locator("#trial summary").click()
    page.evaluate(axe)
    assert page.evaluate("axe.run().then((found) => found.violations.map((v) => v.id))") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
