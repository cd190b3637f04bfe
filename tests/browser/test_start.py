"""The click: what the button, the page and a screen reader say between it and the answer."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from harness.processes import Site
from tests.browser.conftest import Browse, moment, paint, start_job, steps_done

MESSAGE = re.compile(r"Started job with ID msg_\w+")


def button(page: Page):
    return page.locator("#start button")


def test_button_is_disabled_and_says_loading_while_it_works(browse: Browse, still: Site):
    page, held = browse(still.url), []
    before = button(page).bounding_box()
    page.route("**/jobs/start", lambda route: held.append(route))
    button(page).click()
    expect(button(page)).to_be_disabled()
    expect(button(page)).to_have_text("Loading...", use_inner_text=True)
    assert button(page).bounding_box() == before
    held[0].continue_()
    expect(button(page)).to_be_enabled()
    expect(button(page)).to_have_text("Start Background Job", use_inner_text=True)


def test_started_job_is_named_by_its_message(browse: Browse, still: Site):
    page = browse(still.url)
    start_job(page)
    expect(page.locator("#result")).to_have_text(MESSAGE)


def test_first_job_takes_the_place_of_none_yet(browse: Browse, still: Site):
    page = browse(still.url)
    expect(page.get_by_text("None yet.")).to_be_visible()
    start_job(page)
    expect(page.get_by_text("None yet.")).to_be_hidden()


def test_newest_job_comes_first(browse: Browse, still: Site):
    page = browse(still.url)
    first, second = start_job(page), start_job(page)
    jobs = page.locator("#jobs > li")
    expect(jobs).to_have_count(2)
    assert [jobs.nth(n).get_attribute("id") for n in range(2)] == [f"job-{second}", f"job-{first}"]


def test_focus_stays_on_the_button_after_a_click(browse: Browse, still: Site):
    page = browse(still.url)
    start_job(page)
    expect(button(page)).to_be_focused()


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_keyboard_starts_a_job_and_keeps_its_place(browse: Browse, still: Site, key: str):
    page = browse(still.url)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skip to the content
    for _ in range(7):  # four boxes, the lab's choice and its button
        page.keyboard.press("Tab")
    expect(button(page)).to_be_focused()
    page.keyboard.press(key)
    expect(page.locator("#result")).to_have_text(MESSAGE)
    expect(button(page)).to_be_focused()


def test_focus_on_a_link_survives_what_is_new(browse: Browse, still: Site):
    page = browse(still.url)
    job_id = start_job(page)
    link = page.locator(f"#link-{job_id}")
    link.focus()
    for steps in (3, 4):
        paint(still, job_id, status="running", steps_done=steps)
        expect(page.locator(f"#amount-{job_id}")).to_contain_text(f"{steps} of 10")
    expect(link).to_be_focused()


def test_focus_goes_to_the_button_that_takes_the_place_of_another(browse: Browse, still: Site):
    page = browse(still.url)
    job_id = start_job(page)
    actions = page.locator(f"#actions-{job_id}")
    actions.get_by_role("button", name="Cancel").press("Enter")
    expect(actions.get_by_role("button", name="Run again")).to_be_focused()
    actions.get_by_role("button", name="Run again").press("Enter")
    expect(actions.get_by_role("button", name="Cancel")).to_be_focused()


def test_answer_that_comes_after_the_stream_has_replaced_its_form_is_shown(
    browse: Browse, still: Site
):
    page = browse(still.url)
    job_id = start_job(page)
    held: list[Route] = []
    page.route("**/publish", lambda route: held.append(route))
    actions = page.locator(f"#actions-{job_id}")
    actions.get_by_role("button", name="Cancel").click()
    with page.expect_request("**/publish"):
        actions.get_by_role("button", name="Run again").click()
    paint(still, job_id, status="running")
    expect(actions.get_by_role("button")).to_have_count(0)
    failure = '<p hx-swap-oob="innerHTML:#announcement">Failed to send the job again.</p>'
    held[0].fulfill(body=failure, content_type="text/html")
    expect(page.get_by_role("status")).to_have_text("Failed to send the job again.")


def test_start_is_announced_in_the_region_that_was_there_before(browse: Browse, still: Site):
    page = browse(still.url)
    region = page.get_by_role("status").element_handle()
    start_job(page)
    expect(page.get_by_role("status")).to_have_text(MESSAGE)
    assert page.get_by_role("status").element_handle().evaluate("(a, b) => a === b", region)


def test_start_stays_announced_while_steps_are_done(browse: Browse, still: Site):
    page = browse(still.url)
    job_id = start_job(page)
    paint(still, job_id, status="running", steps_done=3)
    expect(page.locator(f"#amount-{job_id}")).to_contain_text("3 of 10")
    expect(page.get_by_role("status")).to_have_text(MESSAGE)


def no_server(route: Route) -> None:
    route.abort("connectionrefused")


def broken_server(route: Route) -> None:
    route.fulfill(status=500, body="Server Error")


def no_database(route: Route) -> None:
    words = "The database is not answering: its disk is full."
    route.fulfill(status=503, body=words, content_type="text/plain; charset=utf-8")


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (no_server, "The server did not answer. Try again in a moment."),
        (broken_server, "The server answered with an error (HTTP 500). Try again in a moment."),
        (no_database, "The database is not answering: its disk is full."),
    ],
)
def test_failed_start_is_told_in_words(browse: Browse, still: Site, server, words: str):
    browse.expect("htmx:", "Response Status Error", "Failed to load resource")
    page = browse(still.url)
    page.route("**/jobs/start", server)
    button(page).click()
    told = f"Failed to start background job. {words}"
    expect(page.locator("#result")).to_contain_text(told)
    expect(page.get_by_role("status")).to_have_text(told)
    expect(button(page)).to_be_enabled()
    expect(button(page)).to_be_focused()


def test_page_without_its_cookie_is_told_to_reload(browse: Browse, still: Site):
    browse.expect("Response Status Error", "Failed to load resource")
    page = browse(still.url)
    page.context.clear_cookies()
    button(page).click()
    expect(page.locator("#result")).to_contain_text("This page is too old. Reload it")


def test_job_that_could_not_be_sent_is_kept_with_its_reason(browse: Browse, cut_off: Site):
    page = browse(cut_off.url)
    job_id = start_job(page)
    expect(page.locator("#result")).to_contain_text("Failed to start background job.")
    expect(page.get_by_role("status")).to_contain_text("cannot be reached. Check QSTASH_URL")
    row = page.locator(f"#job-{job_id}")
    expect(row.locator(".pill strong")).to_have_text("not sent")
    expect(row).to_contain_text("cannot be reached")
    expect(page.locator("#result")).not_to_contain_text("cannot be reached")


def test_send_again_that_fails_says_so_in_place(browse: Browse, cut_off: Site):
    page = browse(cut_off.url)
    job_id = start_job(page)
    button = page.locator(f"#job-{job_id}").get_by_role("button", name="Send again")
    button.click()
    expect(page.locator(f"#state-{job_id}")).to_contain_text("after 2 tries")
    expect(page.get_by_role("status")).to_contain_text("cannot be reached")
    expect(button).to_be_enabled()
    expect(button).to_be_focused()
    assert page.url.rstrip("/") == cut_off.url.rstrip("/")


def test_job_whose_answer_was_lost_is_found(browse: Browse, still: Site):
    browse.expect("htmx:", "Failed to load resource")
    page = browse(still.url)

    def lose(route: Route) -> None:
        route.fetch()  # the server has started the job
        route.abort("connectionreset")

    page.route("**/jobs/start", lose)
    button(page).click()
    expect(page.locator("#result")).to_have_text(MESSAGE)
    expect(page.locator("#result")).to_contain_text("The answer was lost, but the job was started.")
    expect(page.locator("#jobs > li")).to_have_count(1)
    page.unroute("**/jobs/start")
    start_job(page)
    expect(page.locator("#jobs > li")).to_have_count(2)


def test_answer_that_comes_after_the_jobs_end_does_not_take_the_end_back(
    browse: Browse, still: Site
):
    page, late = browse(still.url), []

    def hold(route: Route) -> None:
        late.append((route, route.fetch()))

    page.route("**/jobs/start", hold)
    button(page).click()
    row = page.locator("#jobs > li")
    expect(row.locator(".state")).to_contain_text("queued")
    job_id = row.get_attribute("id").removeprefix("job-")
    paint(still, job_id, status="succeeded", finished_at=moment())
    expect(row.locator(".state")).to_contain_text("succeeded")
    route, answer = late[0]
    assert "queued" in answer.text()
    route.fulfill(response=answer)
    expect(page.locator("#result")).to_have_text(MESSAGE)
    expect(row).to_have_count(1)
    expect(row.locator(".state")).to_contain_text("succeeded")


@pytest.mark.parametrize("page_of", ["list", "job"])
def test_late_answer_to_an_action_does_not_take_newer_news_back(
    browse: Browse, still: Site, page_of: str
):
    page, late = browse(still.url), []
    job_id = start_job(page)
    paint(still, job_id, status="failed", error="no", finished_at=moment())
    if page_of == "job":
        browse.tab(page, f"{still.url}/jobs/{job_id}")
    page.route("**/publish", lambda route: late.append((route, route.fetch())))
    page.locator(f"#publish-{job_id}").click()
    state = page.locator(f"#state-{job_id}")
    expect(state).to_contain_text("queued")
    paint(still, job_id, status="running", attempts=1, started_at=moment())
    expect(state).to_contain_text("running")
    route, answer = late[0]
    assert "queued" in answer.text()
    with page.expect_response("**/publish"):
        route.fulfill(response=answer)
    paint(still, job_id, status="running", **steps_done(1))
    expect(page.locator(f"#amount-{job_id}")).to_contain_text("1 of 10")
    expect(state).to_contain_text("running")


def test_second_click_after_a_lost_answer_starts_no_second_job(browse: Browse, still: Site):
    browse.expect("htmx:", "Failed to load resource")
    page = browse(still.url)
    page.route("**/jobs/started?*", no_server)

    def lose(route: Route) -> None:
        route.fetch()
        route.abort("connectionreset")

    page.route("**/jobs/start", lose)
    button(page).click()
    expect(page.locator("#result")).to_contain_text("The server did not answer.")
    page.unroute("**/jobs/start")
    start_job(page)
    page.reload()
    expect(page.locator("#jobs > li")).to_have_count(1)


def test_selected_text_stays_selected_while_the_job_goes_on(browse: Browse, still: Site):
    page = browse(still.url)
    job_id = start_job(page)
    paint(still, job_id, status="running", steps_done=1, attempts=1, started_at=moment())
    expect(page.locator(f"#state-{job_id}")).to_contain_text("running")
    select = "e => getSelection().selectAllChildren(e)"
    page.locator(f"#state-{job_id} .pill strong").evaluate(select)
    paint(still, job_id, status="running", steps_done=7)
    expect(page.locator(f"#amount-{job_id}")).to_contain_text("7 of 10 steps done")
    assert page.evaluate("getSelection().toString()") == "running"


def test_notices_push_the_button_nowhere(browse: Browse, still: Site):
    page = browse(still.url)
    before = button(page).bounding_box()
    page.locator("#offline").evaluate("notice => { notice.hidden = false; }")
    start_job(page)
    assert button(page).bounding_box() == before


def test_only_its_owner_can_send_a_job_again(browse: Browse, cut_off: Site):
    job_id = start_job(browse(cut_off.url))
    stranger = browse(f"{cut_off.url}/jobs/{job_id}")
    expect(stranger.locator("#detail .pill strong")).to_have_text("not sent")
    expect(stranger.get_by_role("button", name="Send again")).to_have_count(0)


def test_click_too_many_is_told_where_the_job_would_be(browse: Browse, cut_off: Site):
    browse.expect("429")
    page = browse(cut_off.url)
    for _ in range(4):
        start_job(page)
    button(page).click()
    told = re.compile("You have started 4 jobs within a minute. Try again in [0-9]+ seconds?.")
    expect(page.locator("#result .notice.problem")).to_have_text(told)
    expect(page.locator("#announcement")).to_have_text(told)
    expect(page.locator("#offline")).to_be_hidden()
    expect(page.locator("#jobs > li")).to_have_count(4)
    page.get_by_role("button", name="Send again").first.click()
    expect(page.locator("#refused .notice.problem")).to_have_text(told)
