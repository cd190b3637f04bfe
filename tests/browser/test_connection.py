"""The server dies and comes back under an open page."""

import signal
from pathlib import Path

from playwright.sync_api import expect

from harness.processes import Site, site
from tests.browser.conftest import Browse, execute, start_job


def test_page_says_that_the_connection_is_lost_and_goes_on(browse: Browse, tmp_path: Path):
    browse.expect("htmx:", "Failed to load resource")
    with site(tmp_path) as broken:
        server = broken.start_web(RUN_DISPATCHER="0")
        page = browse(broken.url)
        job_id = start_job(page)
        expect(page.locator("#offline")).to_be_hidden()

        broken.stop(server, signal.SIGKILL)
        expect(page.locator("#offline")).to_have_text(
            "Connection lost. This page goes on by itself when the server is back."
        )
        expect(page.get_by_role("status")).to_have_text("Connection lost.")
        page.locator("#start button").click()
        expect(page.locator("#result")).to_contain_text(
            "Failed to start background job. The server did not answer."
        )

        broken.start_web()
        expect(page.locator("#offline")).to_be_hidden()
        expect(page.locator(f"#job-{job_id} .state")).to_contain_text("running")


def test_page_of_a_job_that_is_gone_says_so(browse: Browse, still: Site):
    browse.expect("Response Status Error", "Failed to load resource")
    page = browse(still.url)
    job_id = start_job(page)
    browse.tab(page, f"{still.url}/jobs/{job_id}")
    execute(still, "DELETE FROM jobs_job WHERE id = ?", job_id)
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
