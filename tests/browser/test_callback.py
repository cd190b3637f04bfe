"""The callback's page: two ways, and what the queue has reported; without a script, too."""

import pytest
from playwright.sync_api import expect

from harness.processes import Site
from tests.browser.conftest import Browse

FIRST, SECOND = "attempt 1 was answered with HTTP 503", "attempt 2 was answered with HTTP 200"


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_every_answer_is_reported_on_the_open_page(browse: Browse, live: Site, script: bool):
    page = browse(f"{live.url}/callback", java_script_enabled=script)
    expect(page.get_by_text("No answer has been reported yet.")).to_be_visible()
    page.get_by_label("Let the first attempt fail").check()
    page.get_by_role("button", name="Bake a cake").click()
    expect(page.locator("#answers")).to_contain_text(SECOND)
    expect(page.locator("#answers")).to_contain_text(FIRST)
    expect(page.locator("#callback-way")).to_contain_text("succeeded")
    expect(page.locator("#jobs > li")).to_have_count(3)
    expect(page.get_by_text("No answer has been reported yet.")).to_be_hidden()


def test_unreachable_queue_leaves_the_job_unsent_with_the_reason(browse: Browse, cut_off: Site):
    page = browse(f"{cut_off.url}/callback")
    page.get_by_role("button", name="Bake a cake").click()
    expect(page.locator("#jobs .pill")).to_contain_text("not sent")
    expect(page.locator("#jobs")).to_contain_text("cannot be reached. Check QSTASH_URL")


def test_page_has_no_violation_and_does_not_scroll_sideways(browse: Browse, live: Site, axe: str):
    page = browse(f"{live.url}/callback", viewport={"width": 320, "height": 640})
    page.get_by_role("button", name="Bake a cake").click()
    expect(page.locator("#answers > li")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    nodes = [node["html"] for violation in found["violations"] for node in violation["nodes"]]
    assert nodes == []
