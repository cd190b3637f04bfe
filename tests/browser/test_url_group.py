"""The URL group's page: one click, three ways side by side; without a script, too."""

import pytest
from playwright.sync_api import expect

from harness.processes import Site
from tests.browser.conftest import Browse


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_one_click_reaches_three_receivers(browse: Browse, live: Site, script: bool):
    page = browse(f"{live.url}/url-group", java_script_enabled=script)
    page.get_by_role("button", name="Place an order").click()
    expect(page.locator("#jobs > li")).to_have_count(3)
    expect(page.locator("#jobs .pill.succeeded")).to_have_count(3)
    for receiver in ("write-invoice", "pack-parcel", "book-carrier"):
        expect(page.locator(f"#{receiver}")).to_contain_text("succeeded")


def test_ways_stand_side_by_side_on_a_wide_screen(browse: Browse, still: Site):
    page = browse(f"{still.url}/url-group", viewport={"width": 1280, "height": 800})
    boxes = [card.bounding_box() for card in page.locator(".receivers > section").all()]
    assert len({box["y"] for box in boxes}) == 1
    assert len({box["x"] for box in boxes}) == 3


def test_unreachable_queue_is_told_and_nothing_is_started(browse: Browse, cut_off: Site):
    browse.expect("503 (Service Unavailable)")
    page = browse(f"{cut_off.url}/url-group")
    page.get_by_role("button", name="Place an order").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached. Check QSTASH_URL")
    expect(page.locator("#jobs > li")).to_have_count(0)


def test_page_has_no_violation_and_does_not_scroll_sideways(browse: Browse, still: Site, axe: str):
    page = browse(f"{still.url}/url-group", viewport={"width": 320, "height": 640})
    page.get_by_role("button", name="Place an order").click()
    expect(page.locator("#jobs > li")).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.evaluate(axe)
    found = page.evaluate("axe.run()")
    nodes = [node["html"] for violation in found["violations"] for node in violation["nodes"]]
    assert nodes == []
