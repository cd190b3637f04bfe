"""The schedule page: a field that is read back, a schedule, its runs; without a script, too."""

from playwright.sync_api import Page, expect

from harness.processes import Site
from tests.browser.conftest import Browse

YEARLY = "0 0 1 1 *"


def start(page: Page, cron: str = YEARLY) -> None:
    page.get_by_label("When").fill(cron)
    page.get_by_role("button", name="Start the schedule").click()
    expect(page.locator("#schedule-1")).to_contain_text(cron)


def test_field_is_read_back_while_it_is_typed(browse: Browse, still: Site):
    page = browse(f"{still.url}/schedule")
    expect(page.locator("#reading")).to_contain_text("Every minute (UTC)")
    page.get_by_label("When").fill("30 4 * * 1-5")
    expect(page.locator("#reading")).to_contain_text("At 04:30 on Monday through Friday (UTC)")
    expect(page.locator("#reading time")).to_have_count(5)
    page.get_by_label("When").fill("61 * * * *")
    expect(page.locator("#reading")).to_contain_text("cannot be read: a minute is a number")


def test_hostile_field_is_read_back_as_text(browse: Browse, still: Site):
    page = browse(f"{still.url}/schedule")
    page.get_by_label("When").fill("<img/src=x/onerror=alert(1)> 1 2 3 4")
    expect(page.locator("#reading .problem")).to_contain_text("<img/src=x/onerror=alert(1)>")
    assert page.locator("#reading img").count() == 0


def test_run_now_is_a_job_that_comes_to_its_end_on_the_open_page(browse: Browse, live: Site):
    page = browse(f"{live.url}/schedule")
    start(page)
    page.get_by_role("button", name="Run now: schedule 1").click()
    expect(page.locator("#jobs > li")).to_have_count(1)
    expect(page.locator("#jobs .pill")).to_contain_text("succeeded")


def test_schedule_is_paused_resumed_and_deleted(browse: Browse, still: Site):
    page = browse(f"{still.url}/schedule")
    start(page)
    page.get_by_role("button", name="Pause: schedule 1").click()
    expect(page.locator("#schedule-1 .pill")).to_contain_text("paused")
    page.get_by_role("button", name="Resume: schedule 1").click()
    expect(page.locator("#schedule-1 .pill")).to_contain_text("scheduled")
    page.get_by_role("button", name="Delete: schedule 1").click()
    expect(page.locator("#schedules > li")).to_have_count(0)


def test_everything_works_without_a_script(browse: Browse, live: Site):
    page = browse(f"{live.url}/schedule", java_script_enabled=False)
    page.get_by_label("When").fill("61 * * * *")
    page.get_by_role("button", name="Start the schedule").click()
    expect(page.locator("#reading")).to_contain_text("cannot be read: a minute is a number")
    page.get_by_label("When").fill("30 4 * * *")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#reading")).to_contain_text("At 04:30 every day (UTC)")
    start(page)
    page.get_by_role("button", name="Run now: schedule 1").click()
    expect(page.locator("#jobs .pill")).to_contain_text("succeeded")


def test_unreachable_queue_is_told_and_nothing_is_started(browse: Browse, cut_off: Site):
    browse.expect("503 (Service Unavailable)")
    page = browse(f"{cut_off.url}/schedule")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached. Check QSTASH_URL")
    page.get_by_role("button", name="Start the schedule").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached. Check QSTASH_URL")


def test_page_has_no_violation_and_does_not_scroll_sideways(browse: Browse, still: Site, axe: str):
    page = browse(f"{still.url}/schedule", viewport={"width": 320, "height": 640})
    start(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    nodes = [node["html"] for violation in found["violations"] for node in violation["nodes"]]
    assert nodes == []
