"""From the click to the end, as it is seen: the pages update themselves.

Jobs take five seconds, so two stories are begun once and looked at by several tests: a
visitor at a target that refuses, and one with three jobs, two tabs, a job page and the bin.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from harness.processes import Site
from harness.sink import Sink
from tests.browser.conftest import (
    Browse,
    Gallery,
    execute,
    moment,
    paint,
    record,
    start_job,
    steps_done,
)

SUCCEEDED = "succeeded"


def state(page: Page, job_id: str) -> Locator:
    return page.locator(f"#job-{job_id} .state")


class Refused(NamedTuple):
    """The target refuses all of the first job, and the second one's request 2 twice."""

    page: Page
    shown: Callable[[], list[str]]
    doomed: str
    lucky: str


@pytest.fixture(scope="module")
def refused(chromium: Browser, aimed: Site, sink: Sink) -> Iterator[Refused]:
    def answer(request: dict) -> int:
        key = request["headers"]["Idempotency-Key"]
        doomed = sink.keys[0].partition("-")[0] in key
        return 500 if doomed or (key.endswith("-2") and sink.keys.count(key) <= 2) else 200

    sink.requests.clear()
    sink.answer = answer
    browse = Browse(chromium)
    page = browse(aimed.url)
    shown = record(page)
    doomed = start_job(page)
    expect(state(page, doomed)).to_contain_text("waiting")
    yield Refused(page, shown, doomed, start_job(page))
    assert browse.close() == []


class Watched(NamedTuple):
    """Three jobs in two tabs; the first job's own page, and the bin its requests end in."""

    jobs: list[str]
    first: Page
    second: Page
    detail: Page
    bin: Page
    shown: Callable[[], list[str]]


@pytest.fixture(scope="module")
def watched(chromium: Browser, live: Site, refused: Refused) -> Iterator[Watched]:
    """Depends on the other story only to be told at the same time."""
    browse = Browse(chromium)
    first = browse(live.url)
    shown = record(first)
    jobs = [start_job(first) for _ in range(3)]
    second = browse.tab(first.context.new_page(), live.url)
    detail = browse.tab(first.context.new_page(), f"{live.url}/jobs/{jobs[0]}")
    caught = browse.tab(
        first.context.new_page(), detail.locator("#catcher").evaluate("a => a.href")
    )
    yield Watched(jobs, first, second, detail, caught, shown)
    assert browse.close() == []


def test_every_job_goes_from_queued_to_running_to_succeeded(watched: Watched):
    for job_id in watched.jobs:
        expect(state(watched.first, job_id)).to_contain_text(SUCCEEDED)
        words = re.findall(rf"job-{job_id}: ([a-z]+)", "\n".join(watched.shown()))
        assert words == ["queued", "running", "succeeded"]
        times = watched.first.locator(f"#times-{job_id}")
        expect(times).to_have_text(re.compile(r"waited \d+(\.\d\d s| ms), worked \d+\.\d\d s"))


def test_progress_ends_at_ten_of_ten_steps(watched: Watched):
    for job_id in watched.jobs:
        card = watched.first.locator(f"#job-{job_id}")
        expect(card.locator(".amount")).to_have_text("10 of 10 steps done")
        assert card.locator("progress").evaluate("bar => [bar.value, bar.max]") == [10, 10]


def test_every_count_is_shown(watched: Watched):
    for job_id in watched.jobs:
        expect(watched.first.locator(f"#amount-{job_id}")).to_contain_text("10 of 10")
        amounts = [
            int(amount)
            for amount in re.findall(
                rf"job-{job_id}: (\d+) of 10 steps done", "\n".join(watched.shown())
            )
        ]
        assert amounts == list(range(11))


def test_end_of_every_job_is_announced(watched: Watched):
    for job_id in watched.jobs:
        expect(state(watched.first, job_id)).to_contain_text(SUCCEEDED)
        told = rf"announcement: .*Job {job_id[:8]}: succeeded"
        assert re.search(told, "\n".join(watched.shown()))


def test_two_tabs_agree_on_the_end(watched: Watched):
    for job_id in watched.jobs:
        for page in (watched.first, watched.second):
            expect(state(page, job_id)).to_contain_text(SUCCEEDED)
        told = [state(page, job_id).inner_text() for page in (watched.first, watched.second)]
        assert told[0] == told[1]


def test_reload_in_the_middle_finds_the_job_running(browse: Browse, still: Site):
    page = browse(still.url)
    job_id = start_job(page)
    detail = browse.tab(page.context.new_page(), f"{still.url}/jobs/{job_id}")
    paint(still, job_id, status="running", attempts=1, started_at=moment(), **steps_done(2))
    for shown in (page, detail):
        expect(shown.locator(f"#amount-{job_id}")).to_contain_text("2 of 10 steps done")
        shown.reload()
        expect(shown.locator(f"#amount-{job_id}")).to_contain_text("2 of 10 steps done")
        expect(shown.locator(f"#state-{job_id}")).to_contain_text("running")
    paint(still, job_id, status="succeeded", finished_at=moment(), **steps_done(10))
    for shown in (page, detail):
        expect(shown.locator(f"#state-{job_id}")).to_contain_text(SUCCEEDED)


def test_jobs_of_one_tab_arrive_in_another(browse: Browse, still: Site):
    page = browse(still.url)
    other = browse.tab(page.context.new_page(), still.url)
    first, second = start_job(page), start_job(page)
    expect(other.locator("#jobs > li")).to_have_count(2)
    for number, job_id in enumerate((second, first)):
        expect(other.locator("#jobs > li").nth(number)).to_have_attribute("id", f"job-{job_id}")


def test_timeline_tells_every_step_in_order(watched: Watched):
    expect(watched.detail.locator("#timeline .end")).to_contain_text("succeeded")
    steps = watched.detail.locator("#timeline li > span").all_text_contents()
    told = [
        "saved",
        r"published as msg_\w+",
        r"attempt 1: (HTTP 200|succeeded) after \d+\.\d\d s",
        *(rf"step {number}: HTTP 200" for number in range(1, 11)),
        "succeeded",
    ]
    assert all(re.fullmatch(*pair) for pair in zip(told, steps, strict=True)), steps


def test_ten_requests_arrive_in_the_bin_newest_first(watched: Watched):
    expect(watched.bin.locator("#entries > li")).to_have_count(30)
    caught = watched.bin.request.get(
        watched.bin.get_by_role("link", name="Download as JSON").evaluate("a => a.href")
    ).json()
    keys = [dict(request["headers"])["Idempotency-Key"] for request in caught]
    mine = [key for key in keys if key.startswith(watched.jobs[0])]
    assert mine == [f"{watched.jobs[0]}-{number}" for number in range(10, 0, -1)]


def test_failed_attempts_are_told_with_their_reason_and_what_follows(refused: Refused):
    expect(state(refused.page, refused.doomed)).to_have_text("failed step 1: HTTP 500")
    expect(state(refused.page, refused.lucky)).to_contain_text(SUCCEEDED)
    text = "\n".join(refused.shown())
    # The pause before attempt 2 lasts one second, which a busy browser may miss.
    waiting = r"waiting for attempt {} of 4 in \d s step"
    assert re.search(rf"job-{refused.doomed}: {waiting.format(4)} 1: HTTP 500", text)
    assert re.search(rf"job-{refused.lucky}: {waiting.format(3)} 2: HTTP 500", text)
    assert "attempt 5 of 4" not in text


def test_failed_attempts_and_the_end_are_announced(refused: Refused):
    doomed = rf"announcement: .*Job {refused.doomed[:8]}"
    expect(state(refused.page, refused.doomed)).to_have_text("failed step 1: HTTP 500")
    text = "\n".join(refused.shown())
    for number in (3, 4):
        waiting = rf"waiting for attempt {number} of 4 in \d s step 1: HTTP 500"
        assert re.search(rf"{doomed}: {waiting}", text)
    assert re.search(f"{doomed}: failed step 1: HTTP 500", text)


def test_only_who_knows_its_address_sees_a_job_of_another(browse: Browse, still: Site):
    job_id = start_job(browse(still.url))
    stranger = browse(still.url)
    expect(stranger.get_by_text("None yet.")).to_be_visible()
    browse.tab(stranger, f"{still.url}/jobs/{job_id}")
    expect(stranger.locator("#detail .pill strong")).to_have_text("queued")


def test_last_failed_attempt_says_that_none_follows(browse: Browse, gallery: Gallery):
    page = browse(gallery.url, storage_state=gallery.storage_state)
    expect(state(page, gallery.jobs["giving_up"])).to_have_text(
        "waiting for the queue to give up: attempt 4 of 4 failed step 4: HTTP 500"
    )


def test_queue_that_is_not_running_is_said_once(browse: Browse, gallery: Gallery, still: Site):
    execute(still, "UPDATE broker_message SET due_at = due_at - 60000")
    page = browse(gallery.url, storage_state=gallery.storage_state)
    expect(page.get_by_text("The queue is not running")).to_have_count(1)
    paint(still, gallery.jobs["running"], steps_done=4)
    expect(page.locator(f"#amount-{gallery.jobs['running']}")).to_contain_text("4 of 10")
    expect(page.get_by_text("The queue is not running")).to_have_count(1)
