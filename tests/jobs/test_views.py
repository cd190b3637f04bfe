"""What a person sees: the button, the jobs, and what went wrong, in words."""

import asyncio
import re
from datetime import timedelta

import pytest
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils import timezone

from broker.clock import now_ms
from broker.delivery import Outcome
from broker.dispatcher import Dispatcher
from broker.models import Event, Message, Pulse
from catcher.models import Entry
from jobs.interface import new_job
from jobs.models import Job
from jobs.strip import KEYS
from jobs.tasks import long_task

HTMX = {"HX-Request": "true"}
JSON = {"Accept": "application/json"}
# What a page may not hold under our CSP: code or style that is not in a file of its own.
INLINE = re.compile(r"<style|\sstyle\s*=|<script(?![^>]*\ssrc=)|\son[a-z]+\s*=|javascript:|hx-on")


@pytest.fixture
def visitor(client) -> str:
    """The name that the test's browser has been given."""
    client.get("/")
    return client.session["visitor"]


@pytest.fixture
def make(db, visitor):
    def make(**fields) -> Job:
        job = new_job(long_task, ["http://target.test/"], {})
        for name, value in ({"owner": visitor, "status": "queued"} | fields).items():
            setattr(job, name, value)
        job.save()
        return job

    return make


def page_of(job: Job) -> str:
    return reverse("job_detail", args=[job.id])


def changes_of(job: Job) -> str:
    return reverse("job_detail_changes", args=[job.id])


def key_in(page: str) -> str:
    """The key of the form on a page."""
    (key,) = re.findall(r'name="key" value="(\w+)"', page)
    return key


def version_in(page: str) -> str:
    (version,) = re.findall(r'data-live="[^"]+" data-version="([^"]+)"', page)
    return version


def one_in_every_state(make) -> list[Job]:
    now = timezone.now()
    moments = {"started_at": now, "finished_at": now, "next_attempt_at": now}
    history = {
        "messages": [{"id": "msg_1", "at": 1700000000.0}],
        "log": [{"number": 1, "at": 1700000000.5, "text": "<b>refused</b>"}],
        "errors": [{"attempt": 1, "at": 1700000000.7, "text": "<b>refused</b>"}],
    }
    return [
        make(status=status, error="<i>why</i>", **history, **moments)
        for status in Job.Status.values
    ]


def test_home_shows_the_button(client, db):
    page = client.get("/").text
    assert re.search(r'<form[^>]*method="post"[^>]*action="/jobs/start"', page)
    assert "csrfmiddlewaretoken" in page
    assert "Start Background Job" in page


def test_home_lists_only_the_visitors_jobs(client, make):
    own, other = make(), make(owner="somebody else")
    page = client.get("/").text
    assert own.id in page
    assert other.id not in page


def test_click_with_htmx_gets_the_partial(client, transactional_db):
    answer = client.post("/jobs/start", headers=HTMX)
    job = Job.objects.get()
    assert f"Started job with ID <code>{job.message_id}</code>" in answer.text
    assert "Started job with ID msg_" in answer.text
    assert (f'id="job-{job.id}"' in answer.text, "<html" in answer.text) == (True, False)


def test_strip_follows_a_click_with_the_pages_news(client, transactional_db):
    version = version_in(client.get("/").text)
    answer = client.post("/jobs/start", headers=HTMX).text
    news = client.get("/jobs/changes", {"since": version}).text
    parts = {f"way-{box}-{part}" for box in KEYS for part in ("head", "facts", "code")}
    assert [part for part in sorted(parts) if part in answer] == []
    assert [part for part in sorted(parts) if part not in news] == []
    assert Job.objects.get().message_id in news


def test_click_without_htmx_leads_to_the_jobs_page(client, transactional_db):
    answer = client.post("/jobs/start")
    assert answer.status_code == 303
    assert answer["Location"] == page_of(Job.objects.get())


def test_click_stores_a_job_and_its_message(client, transactional_db):
    client.post("/jobs/start", headers=HTMX)
    job, message = Job.objects.get(), Message.objects.get()
    assert (job.owner, job.message_id) == (client.session["visitor"], message.message_id)
    assert message.url == "http://testserver/api/long-task"


def test_every_visitor_has_a_bin_of_an_unguessable_name(client, transactional_db):
    client.post("/jobs/start")
    Client().post("/jobs/start")
    targets = {job.args[0] for job in Job.objects.all()}
    assert len(targets) == 2
    assert all(re.fullmatch(r"http://testserver/catcher/[0-9a-f]{32}/", url) for url in targets)


def test_configured_target_comes_before_the_bin(client, transactional_db, settings):
    settings.LONG_TASK_TARGET_URL = "http://own.test/hook"
    client.post("/jobs/start")
    assert Job.objects.get().args == ["http://own.test/hook"]


def test_start_must_be_posted(client):
    assert client.get("/jobs/start").status_code == 405


def test_form_of_another_site_starts_nothing(transactional_db):
    strict = Client(enforce_csrf_checks=True)
    assert strict.post("/jobs/start", headers=HTMX).status_code == 403
    assert not Job.objects.exists()


def test_our_own_form_passes_the_csrf_check(transactional_db):
    strict = Client(enforce_csrf_checks=True)
    form = strict.get("/").text.partition('<form id="start"')[2].partition("</form>")[0]
    (token,) = re.findall(r'csrfmiddlewaretoken" value="([^"]+)', form)
    answer = strict.post("/jobs/start", {"csrfmiddlewaretoken": token})
    assert answer.status_code == 303


def test_message_of_an_embedded_queue_needs_no_csrf_token(db):
    assert Client(enforce_csrf_checks=True).post("/api/long-task").json() == {
        "error": "invalid signature"
    }


def test_script_gets_exactly_the_facts(client, make):
    job = make(status="running", steps_done=4, attempts=1)
    facts = client.get(page_of(job), headers=JSON).json()
    assert " ".join(facts) == (
        "id task message_id status steps_done steps_total attempts return_value error"
        " created_at started_at finished_at"
    )
    assert (facts["status"], facts["steps_done"], facts["steps_total"]) == ("running", 4, 10)
    assert (facts["error"], facts["started_at"]) == (None, None)


def test_browser_gets_a_page(client, make):
    accept = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    assert client.get(page_of(make()), headers=accept)["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("job_id", ["0" * 32, "nobody", "%00", "a%0Ab", "%F0%9F%92%A9", "a/b"])
@pytest.mark.parametrize("path", ["/jobs/{}", "/jobs/{}/changes"])
def test_unknown_job_is_not_found(client, db, path, job_id):
    assert client.get(path.format(job_id)).status_code == 404


def test_shared_url_shows_the_job_to_others(make):
    assert Client().get(page_of(make(steps_done=4))).status_code == 200


def test_only_its_visitor_may_send_a_job_again(client, make):
    job = make(status="not_sent", error="no route")
    assert "Send again" in client.get(page_of(job)).text
    assert "Send again" not in Client().get(page_of(job)).text


def test_stranger_cannot_send_a_job_again(make, transactional_db):
    job = make(status="not_sent")
    answer = Client().post(reverse("publish_again", args=[job.id]))
    job.refresh_from_db()
    assert (answer.status_code, job.status) == (303, "not_sent")
    assert not Message.objects.exists()


@pytest.mark.parametrize("status", ["not_sent", "failed", "cancelled"])
def test_owner_publishes_a_job_again(client, make, transactional_db, status):
    job = make(status=status, steps_done=4, messages=[{"id": "msg_1", "at": 1700000000.0}])
    answer = client.post(reverse("publish_again", args=[job.id]))
    job.refresh_from_db()
    assert (answer.status_code, job.status, job.steps_done) == (303, "queued", 4)
    assert job.message_id == Message.objects.get().message_id


@pytest.mark.parametrize("status", ["not_sent", "queued", "waiting"])
def test_owner_cancels_a_job_that_waits(client, transactional_db, status):
    client.post("/jobs/start")
    Job.objects.update(status=status)
    answer = client.post(reverse("cancel_job", args=[Job.objects.get().id]))
    assert (answer.status_code, Job.objects.get().status) == (303, "cancelled")
    assert Message.objects.get().state == "CANCELED"


@pytest.mark.parametrize("status", ["running", "succeeded", "failed"])
def test_other_jobs_cannot_be_cancelled(client, make, status):
    job = make(status=status)
    assert "Cancel" not in client.get(page_of(job)).text
    client.post(reverse("cancel_job", args=[job.id]))
    assert Job.objects.get().status == status


def test_stranger_cannot_cancel_a_job(make):
    job = make()
    assert "Cancel" not in Client().get(page_of(job)).text
    assert Client().post(reverse("cancel_job", args=[job.id])).status_code == 303
    assert Job.objects.get().status == "queued"


def test_publish_that_fails_is_told_and_the_job_kept(client, hosted, transactional_db):
    hosted.answer(401, {"error": "invalid token"})
    page = client.post("/jobs/start", headers=HTMX).text
    assert "Failed to start background job." in page
    assert ("Send again" in page, Job.objects.get().status) == (True, "not_sent")
    notice = page.partition("hx-swap-oob")[0]
    row = page[page.index('id="job-') :].partition("</li>")[0]
    assert "QStash does not accept the token" not in notice
    # In the version, in words, and as the title of words that may be cut off.
    assert row.count("QStash does not accept the token") == 3


def test_job_that_was_sent_is_not_sent_again(client, make, transactional_db):
    job = make(status="queued")
    client.post(reverse("publish_again", args=[job.id]))
    assert not Message.objects.exists()


def test_page_asks_one_address_for_all_its_jobs(client, make):
    for _ in range(3):
        make(status="running")
    page = client.get("/").text
    assert page.count("data-live=") == 1
    assert 'data-live="/jobs/changes"' in page
    assert not re.search(r'hx-trigger="[^"]*\bevery\b', page)


def test_page_is_told_nothing_while_nothing_changes(client, make):
    job = make(status="running", steps_done=4)
    for path in ("/jobs/changes", changes_of(job)):
        version = version_in(client.get("/" if path == "/jobs/changes" else page_of(job)).text)
        assert client.get(path, {"since": version}).status_code == 204


def test_page_is_told_of_the_jobs_that_have_changed_and_of_no_other(client, make):
    old = timezone.now() - timedelta(minutes=1)
    still, moving = make(status="running", changed_at=old), make(status="running", changed_at=old)
    version = version_in(client.get("/").text)
    Job.objects.filter(id=moving.id).update(steps_done=5, changed_at=timezone.now())
    news = client.get("/jobs/changes", {"since": version})
    assert f'id="amount-{moving.id}"' in news.text
    assert "5 of 10 steps done" in news.text
    assert still.id not in news.text
    assert client.get("/jobs/changes", {"since": news["Live-Version"]}).status_code == 204


async def test_home_shows_the_answer_after_a_reload_and_to_a_page_that_is_open(
    async_client, transactional_db
):
    await async_client.post("/jobs/start")
    job, ended = await Job.objects.aget(), timezone.now()
    await Message.objects.aupdate(state="ACTIVE")
    await Job.objects.aupdate(status="failed", attempts=1, last_attempted_at=ended, error="no")
    open_page = version_in((await async_client.get("/")).text)
    assert (await async_client.get("/jobs/changes", {"since": open_page})).status_code == 204
    log = [("ACTIVE", None), ("ERROR", 489)]
    for state, status in log:
        time = round(ended.timestamp() * 1000) + (status is not None) * 20
        event = {"message": await Message.objects.aget(), "state": state, "time": time}
        await Event.objects.acreate(**event, response_status=status)
    news = await async_client.get("/jobs/changes", {"since": open_page})
    for page in (news, await async_client.get("/")):
        head = page.text.partition('id="way-post-head"')[2].partition("<time")[0]
        assert "HTTP 489" in head
        assert "20 ms" in head
    assert job.id in news.text


def test_job_of_another_tab_arrives_at_the_top_of_the_list(client, make):
    version = version_in(client.get("/").text)
    job = make()
    news = client.get("/jobs/changes", {"since": version}).text
    assert re.search(
        rf'hx-swap-oob="afterbegin:#jobs"><li id="job-{job.id}"', re.sub(r">\s+<", "><", news)
    )


def test_job_of_a_stranger_is_no_news(client, make):
    version = version_in(client.get("/").text)
    make(owner="somebody else")
    assert client.get("/jobs/changes", {"since": version}).status_code == 204


def test_page_of_one_task_is_told_of_its_jobs_only(client, make):
    other = make(task="recipes.emails.send")
    news = client.get("/jobs/changes", {"since": "", "task": "jobs.tasks.long_task"})
    assert other.id not in news.text
    news = client.get("/jobs/changes", {"since": "", "task": "recipes.emails.send"})
    assert other.id in news.text


@pytest.mark.parametrize("since", ["", "x", "-", "1-2", "9" * 400, "%00", "٣-1-0"])
def test_version_that_is_none_gets_everything(client, make, since):
    job = make(status="running")
    assert job.id in client.get("/jobs/changes", {"since": since}).text


def test_change_that_was_committed_late_is_not_missed(client, make):
    job = make(status="running")
    version = version_in(client.get("/").text)
    Job.objects.update(steps_done=1, changed_at=timezone.now() - timedelta(seconds=2))
    assert job.id in client.get("/jobs/changes", {"since": version}).text


def test_job_page_is_told_of_each_step(client, make):
    job = make(status="running")
    version = version_in(client.get(page_of(job)).text)
    log = [{"number": 1, "at": 1700000000.5, "text": "HTTP 204"}]
    Job.objects.update(steps_done=1, log=log, changed_at=timezone.now())
    news = client.get(changes_of(job), {"since": version})
    assert "step 1: HTTP 204" in news.text
    assert ("<html" in news.text, 'id="detail"' in news.text) == (False, True)
    assert client.get(changes_of(job), {"since": news["Live-Version"]}).status_code == 204


@pytest.mark.parametrize("status", ["waiting", "failed", "cancelled", "succeeded"])
def test_news_that_matter_are_read_out(client, make, status):
    assert "data-announce" in row_of(client, make(status=status))


@pytest.mark.parametrize("status", ["queued", "running"])
def test_progress_is_not_read_out(client, make, status):
    assert "data-announce" not in row_of(client, make(status=status))


def row_of(client, job: Job) -> str:
    text = " ".join(client.get("/jobs/changes").text.split())
    return text[text.index(f'<li id="job-{job.id}"') :].partition("</li>")[0]


def words_of(client, job: Job) -> str:
    return " ".join(re.sub("<[^>]+>", " ", row_of(client, job)).split())


def test_running_job_shows_how_far_it_is(client, make):
    row = row_of(client, make(status="running", steps_done=4))
    assert "4 of 10 steps done" in row
    assert re.search(r'<progress max="10" value="4"', row)


def test_waiting_job_says_when_and_why(client, make):
    soon = timezone.now() + timedelta(hours=1)
    job = make(status="waiting", attempts=1, next_attempt_at=soon, error="HTTP 500")
    assert re.search(r"waiting for attempt 2 of 4 in 3\d\d\d s HTTP 500", words_of(client, job))


def test_scheduled_job_counts_down(client, make):
    soon = timezone.now() + timedelta(hours=1)
    job = make(status="queued", run_after=soon)
    assert re.search(r"scheduled in 3\d\d\d s", words_of(client, job))
    assert f'class="countdown" datetime="{soon:%Y-%m-%dT%H:%M}' in row_of(client, job)


def test_succeeded_job_says_how_long_it_waited_and_worked(client, make):
    now = timezone.now()
    moments = {"created_at": now - timedelta(seconds=15), "finished_at": now}
    started_at = now - timedelta(seconds=5)
    job = make(status="succeeded", started_at=started_at, worked_seconds=5, **moments)
    assert "waited 10.00 s, worked 5.00 s" in words_of(client, job)


def test_failed_job_says_why(client, make):
    job = make(status="failed", error="The queue gave up.", finished_at=timezone.now())
    assert words_of(client, job).count("The queue gave up.") == 1


def test_form_that_is_sent_twice_starts_one_job(client, transactional_db):
    key = key_in(client.get("/").text)
    first = client.post("/jobs/start", {"key": key}, headers=HTMX)
    second = client.post("/jobs/start", {"key": key}, headers=HTMX)
    job, message = Job.objects.get(), Message.objects.get()
    for answer in (first, second):
        assert f"Started job with ID <code>{message.message_id}</code>" in answer.text
        assert f'id="job-{job.id}"' in answer.text


def test_form_that_is_sent_twice_to_hosted_qstash_starts_one_job(client, hosted, transactional_db):
    key = key_in(client.get("/").text)
    for _ in range(2):
        assert client.post("/jobs/start", {"key": key}).status_code == 303
    assert Job.objects.count() == 1
    assert [asked["line"] for asked in hosted.asked].count(hosted.asked[0]["line"]) == 1


def test_form_that_is_sent_twice_at_once_starts_one_job(transactional_db):
    async def both() -> list[str]:
        browser = AsyncClient()
        key = key_in((await browser.get("/")).text)
        clicks = [browser.post("/jobs/start", {"key": key}, headers=HTMX) for _ in range(2)]
        return [answer.text for answer in await asyncio.gather(*clicks)]

    texts = asyncio.run(both())
    job, message = Job.objects.get(), Message.objects.get()
    assert all(job.id in text and message.message_id in text for text in texts)


def test_answer_has_the_key_of_the_next_click(client, transactional_db):
    key = key_in(client.get("/").text)
    for _ in range(2):
        key = key_in(client.post("/jobs/start", {"key": key}, headers=HTMX).text)
    assert Job.objects.count() == 2


def test_key_of_another_visitor_starts_a_job_of_ones_own(client, transactional_db):
    client.post("/jobs/start", {"key": "same"})
    Client().post("/jobs/start", {"key": "same"})
    assert Job.objects.values("owner").distinct().count() == 2


def test_job_whose_answer_was_lost_is_found_by_the_forms_key(client, transactional_db):
    key = key_in(client.get("/").text)
    assert client.get("/jobs/started", {"key": key}).status_code == 204
    client.post("/jobs/start", {"key": key})
    found = client.get("/jobs/started", {"key": key}, headers=HTMX)
    assert Job.objects.get().id in found.text
    assert Client().get("/jobs/started", {"key": key}).status_code == 204


def test_send_again_that_fails_says_so_in_place(client, hosted, transactional_db):
    hosted.answer(401, {"error": "invalid token"})
    client.post("/jobs/start")
    hosted.answer(401, {"error": "invalid token"})
    job = Job.objects.get()
    answer = client.post(reverse("publish_again", args=[job.id]), headers=HTMX)
    assert "Failed to send the job again. QStash does not accept the token" in answer.text
    assert (answer.status_code, "after 2 tries" in answer.text) == (200, True)
    page = client.get(page_of(job)).text
    assert page.count("not published: QStash does not accept the token") >= 2


def test_what_was_done_on_the_jobs_page_is_shown_there(client, make, transactional_db):
    job = make(status="queued")
    headers = HTMX | {"HX-Current-URL": f"http://testserver{page_of(job)}"}
    answer = client.post(reverse("cancel_job", args=[job.id]), headers=headers)
    assert 'id="detail"' in answer.text
    assert "cancelled" in answer.text


def test_all_jobs_can_be_reached(client, make):
    jobs = [make() for _ in range(45)]
    pages = [client.get("/", {"page": number}).text for number in (1, 2, 3)]
    listed = [re.findall(r'id="job-(\w+)"', page) for page in pages]
    assert [len(ids) for ids in listed] == [20, 20, 5]
    assert {job.id for job in jobs} == {job_id for ids in listed for job_id in ids}
    assert ('href="?page=2"' in pages[0], 'href="?page=2"' in pages[2]) == (True, True)


def test_page_of_older_jobs_leads_to_the_page_of_a_new_one(client, make):
    """It gets no news, so it could not show what becomes of the job."""
    for _ in range(21):
        make()
    pages = [client.get("/", {"page": number}).text for number in (1, 2)]
    assert ['data-live="/jobs/changes"' in page for page in pages] == [True, False]
    assert ["hx-disable>" in page for page in pages] == [False, True]


@pytest.mark.parametrize("page", ["0", "-1", "x", "99"])
def test_page_that_is_none_shows_one_that_is(client, make, page):
    job = make()
    assert job.id in client.get("/", {"page": page}).text


def test_head_is_answered(client, make):
    assert client.head("/").status_code == 200
    assert client.head(page_of(make())).status_code == 200


def test_home_without_javascript_reloads_while_jobs_run(client, make):
    refresh = '<noscript><meta http-equiv="refresh"'
    make(status="succeeded", finished_at=timezone.now())
    assert refresh not in client.get("/").text
    make(status="running")
    assert refresh in client.get("/").text


def test_timeline_tells_attempts_and_steps(client, transactional_db):
    client.post("/jobs/start")
    job, message = Job.objects.get(), Message.objects.get()
    for state, moment, status in [("ACTIVE", 1000, None), ("ERROR", 1250, 503)]:
        Event.objects.create(message=message, state=state, time=moment, response_status=status)
    Job.objects.update(log=[{"number": 1, "at": 1700000000.5, "text": "HTTP 204"}])
    page = " ".join(re.sub("<[^>]+>", "", client.get(page_of(job)).text).split())
    assert "attempt 1: HTTP 503 after 0.25 s" in page
    assert "22:13:20.500 step 1: HTTP 204" in page


async def test_destination_that_cannot_be_reached_is_told_from_the_queues_log(transactional_db):
    async def nobody_there(connections: object, message: Message, key: str) -> Outcome:
        return Outcome(0, {}, b"", "Cannot connect to host jobs.example.com")

    result = await long_task.aenqueue("http://target.test/")
    job = result.job
    await Job.objects.aupdate(created_at=timezone.now() - timedelta(seconds=3))
    await Dispatcher(nobody_there).run_once()
    page = " ".join(re.sub("<[^>]+>", " ", (await AsyncClient().get(page_of(job))).text).split())
    assert re.search("attempt 2 of 4 in [01] s Cannot connect to host jobs.example.com", page)


def test_young_job_does_not_bother_the_queue(client, make, hosted):
    make(messages=[{"id": "msg_young", "at": 1700000000.0}])
    client.get("/jobs/changes")
    assert hosted.asked == []


def test_stuck_queue_is_told_on_every_page(client, make):
    job = make()
    long_task.enqueue("http://target.test/")
    Message.objects.update(due_at=now_ms() - 11_000)
    for path in ("/", page_of(job), "/jobs/changes?since=x", changes_of(job)):
        assert "The queue is not running" in client.get(path).text


def test_stuck_queue_is_not_told_to_whom_it_does_not_concern(client, db):
    long_task.enqueue("http://target.test/")
    Message.objects.update(due_at=now_ms() - 11_000)
    assert "The queue is not running" not in client.get("/").text


def test_busy_queue_does_not_look_stuck(client, db):
    long_task.enqueue("http://target.test/")
    Message.objects.update(due_at=now_ms() - 11_000)
    Pulse.objects.create(dispatcher="busy", seen_at=now_ms(), in_flight=1000)
    assert "not running" not in client.get("/").text
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/", "/jobs/nobody", "/healthz", "/jobs/start", "/api/long-task"])
def test_browser_may_load_only_our_own_files(client, db, path):
    policy = client.get(path)["Content-Security-Policy"]
    sources = {word for rule in policy.split(";") for word in rule.split()[1:]}
    assert sources <= {"'self'", "'none'"}
    assert "default-src 'self'" in policy


def test_no_page_has_anything_inline(client, make):
    Entry.objects.create(bin="b", method="POST", path="/catcher/b/", body=b'{"a": 1}')
    paths = ["/", "/catcher/b/", "/jobs/nobody"]
    for job in one_in_every_state(make):
        paths += [page_of(job), changes_of(job), "/jobs/changes"]
    for path in paths:
        page = client.get(path, headers={"Accept": "text/html"}).text
        assert not INLINE.search(page), (path, INLINE.search(page))


def test_what_others_wrote_is_escaped(client, make):
    for job in one_in_every_state(make):
        page = client.get(page_of(job)).text
        assert "<b>refused" not in page
        assert "<i>why" not in page


@pytest.mark.parametrize("path", ["/", "/jobs/nobody"])
def test_no_page_is_loaded_from_elsewhere(client, db, path):
    assert not re.search(r'(src|href)="(https?:)?//', client.get(path).text)


def test_every_state_is_an_icon_and_a_word(client, make):
    for job in one_in_every_state(make):
        assert re.search(
            r'aria-hidden="true"><svg[^>]*>\s*<\w.*?</svg></span>\s*<strong>\w', row_of(client, job)
        )


def test_pages_are_never_cached(client, make):
    for path in ("/", page_of(make()), "/healthz"):
        assert "no-store" in client.get(path)["Cache-Control"]


def test_job_page_without_javascript_reloads_until_the_end(client, make):
    refresh = '<noscript><meta http-equiv="refresh"'
    done = make(status="succeeded", finished_at=timezone.now())
    assert refresh in client.get(page_of(make())).text
    assert refresh not in client.get(page_of(done)).text
