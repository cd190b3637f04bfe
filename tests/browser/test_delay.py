"""The delay's page: a countdown, a job that is cancelled in time, one that is run again."""

import re

import pytest
from playwright.sync_api import expect

from harness.processes import Site
from tests.browser.conftest import Browse


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_job_waits_and_is_cancelled_before_it_runs(browse: Browse, live: Site, script: bool):
    page = browse(f"{live.url}/delay", java_script_enabled=script)
    page.get_by_role("button", name="Start in ten seconds").click()
    expect(page.locator("#jobs .pill")).to_contain_text("scheduled")
    page.get_by_role("button", name=re.compile("Cancel")).click()
    expect(page.locator(".pill.cancelled").first).to_be_visible()


def test_failed_job_is_run_again_on_the_open_page(browse: Browse, live: Site):
    page = browse(f"{live.url}/delay")
    page.get_by_label("Let it fail").check()
    page.get_by_role("button", name="Start in ten seconds").click()
    expect(page.locator("#jobs .pill.failed")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name=re.compile("Run again")).click()
    expect(page.locator("#jobs .pill.succeeded")).to_be_visible(timeout=30_000)


def test_page_has_no_violation_and_does_not_scroll_sideways(browse: Browse, still: Site, axe: str):
    page = browse(f"{still.url}/delay", viewport={"width": 320, "height": 640})
    page.get_by_role("button", name="Start in ten seconds").click()
    expect(page.locator("#jobs > li")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    nodes = [node["html"] for violation in found["violations"] for node in violation["nodes"]]
    assert nodes == []
