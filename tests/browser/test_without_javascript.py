"""The same form and the same pages, in a browser that runs no script."""

from playwright.sync_api import Page, expect

from harness.processes import Site
from tests.browser.conftest import Browse, moment, paint


def click(browse: Browse, site: Site) -> tuple[Page, str]:
    page = browse(site.url, java_script_enabled=False)
    page.get_by_role("button", name="Start Background Job").click()
    page.wait_for_url("**/jobs/*")
    return page, page.url.rpartition("/")[2]


def test_form_leads_to_the_job_page_by_303(browse: Browse, still: Site):
    page = browse(still.url, java_script_enabled=False)
    with page.expect_response("**/jobs/start") as answer:
        page.get_by_role("button", name="Start Background Job").click()
    assert answer.value.status == 303
    page.wait_for_url("**/jobs/*")
    expect(page.locator("#detail .pill strong")).to_have_text("queued")


def test_job_page_refreshes_itself_until_the_end(browse: Browse, still: Site):
    page, job_id = click(browse, still)
    paint(still, job_id, status="running", steps_done=4, attempts=1, started_at=moment())
    expect(page.locator("#detail .amount")).to_have_text("4 of 10 steps done")
    paint(still, job_id, status="succeeded", steps_done=10, finished_at=moment())
    expect(page.locator("#detail .state")).to_contain_text("succeeded")
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)


def test_job_is_listed_on_the_first_page(browse: Browse, still: Site):
    page, job_id = click(browse, still)
    page.get_by_role("link", name="Background jobs over HTTP").click()
    expect(page.locator(f"#job-{job_id} strong")).to_have_text("queued")


def test_home_page_refreshes_itself_while_a_job_runs(browse: Browse, still: Site):
    page, job_id = click(browse, still)
    page.goto(still.url)
    paint(still, job_id, status="running", steps_done=4, attempts=1, started_at=moment())
    expect(page.locator(f"#amount-{job_id}")).to_contain_text("4 of 10 steps done")
    paint(still, job_id, status="succeeded", steps_done=10, finished_at=moment())
    expect(page.locator(f"#state-{job_id}")).to_contain_text("succeeded")
    expect(page.locator("meta[http-equiv=refresh]")).to_have_count(0)


def test_bin_refreshes_itself(browse: Browse, gallery):
    page = browse(f"{gallery.url}/catcher/gallery/", java_script_enabled=False)
    assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "2"


def test_form_without_its_cookie_is_refused_with_words(browse: Browse, still: Site):
    browse.expect("Failed to load resource")
    page = browse(still.url, java_script_enabled=False)
    page.context.clear_cookies()
    page.get_by_role("button", name="Start Background Job").click()
    expect(page.get_by_role("heading")).to_have_text("Your click was not accepted")
