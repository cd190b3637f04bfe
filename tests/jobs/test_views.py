"""What a person sees: the button, the jobs, and what went wrong, in words."""

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
from jobs.tasks import long_task

HTMX = {"HX-Request": "true"}
JSON = {"Accept": "application/json"}
POLLING = re.compile(r"hx-get|hx-trigger")
# What a page may not hold under our CSP: code or style that is not in a file of its own.
INLINE = re.compile(r"<style|\sstyle\s*=|<script(?![^>]*\ssrc=)|\son[a-z]+\s*=|javascript:|hx-on")
UNFINISHED = ["not_sent", "queued", "running", "waiting"]


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


def status_of(job: Job) -> str:
    return reverse("job_status", args=[job.id])


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
    (token,) = re.findall(r'csrfmiddlewaretoken" value="([^"]+)', strict.get("/").text)
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
@pytest.mark.parametrize("path", ["/jobs/{}", "/jobs/{}/status"])
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
    assert "Failed to start background job. QStash does not accept the token" in page
    assert ("Send again" in page, Job.objects.get().status) == (True, "not_sent")


def test_job_that_was_sent_is_not_sent_again(client, make, transactional_db):
    job = make(status="queued")
    client.post(reverse("publish_again", args=[job.id]))
    assert not Message.objects.exists()


@pytest.mark.parametrize("status", UNFINISHED)
def test_unfinished_job_polls(client, make, status):
    job = make(status=status)
    assert POLLING.search(client.get(status_of(job)).text)
    assert POLLING.search(client.get(status_of(job) + "?timeline").text)


@pytest.mark.parametrize("status", Job.ENDED)
def test_job_that_has_ended_stops_polling(client, make, status):
    job = make(status=status, finished_at=timezone.now())
    assert not POLLING.search(client.get(status_of(job)).text)
    assert not POLLING.search(client.get(status_of(job) + "?timeline").text)


@pytest.mark.parametrize("query", ["", "?timeline"])
def test_partial_is_no_whole_page(client, make, query):
    assert "<html" not in client.get(status_of(make()) + query).text


@pytest.mark.parametrize("query", ["?", "?timeline&"])
def test_news_is_announced_once(client, make, query):
    job = make(status="waiting", error="HTTP 500", attempts=1)
    first = client.get(f"{status_of(job)}{query}seen=running-1").text
    assert re.search("#announcement.*waiting for attempt 2 of 4 in 0 s: HTTP 500", first)
    (seen,) = re.findall(r"seen=([\w-]+)", first)
    assert "#announcement" not in client.get(f"{status_of(job)}{query}seen={seen}").text


def test_running_job_shows_how_far_it_is(client, make):
    partial = client.get(status_of(make(status="running", steps_done=4))).text
    assert "4 of 10 steps done" in partial
    assert re.search(r'<progress max="10" value="4"', partial)


def test_waiting_job_says_when_and_why(client, make):
    soon = timezone.now() + timedelta(seconds=2.5)
    job = make(status="waiting", attempts=1, next_attempt_at=soon, error="HTTP 500")
    assert "attempt 2 of 4 in 3 s: HTTP 500" in client.get(status_of(job)).text


def test_succeeded_job_says_how_long_it_took(client, make):
    now = timezone.now()
    job = make(status="succeeded", started_at=now - timedelta(seconds=5.04), finished_at=now)
    assert re.search(r"succeeded</strong> in 5\.0 s", client.get(status_of(job)).text)


def test_failed_job_says_why(client, make):
    job = make(status="failed", error="The queue gave up.", finished_at=timezone.now())
    assert "The queue gave up." in client.get(status_of(job)).text


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
    async def nobody_there(session: object, message: Message, key: str) -> Outcome:
        return Outcome(0, {}, b"", "Cannot connect to host jobs.example.com")

    result = await long_task.aenqueue("http://target.test/")
    job = result.job
    await Job.objects.aupdate(created_at=timezone.now() - timedelta(seconds=3))
    await Dispatcher(nobody_there).run_once()
    partial = (await AsyncClient().get(status_of(job))).text
    assert "attempt 2 of 4 in 1 s: Cannot connect to host jobs.example.com" in partial
    assert POLLING.search(partial)


def test_young_job_does_not_bother_the_queue(client, make, hosted):
    client.get(status_of(make(messages=[{"id": "msg_young", "at": 1700000000.0}])))
    assert hosted.asked == []


def test_stuck_queue_is_told_on_every_page(client, make):
    job = make()
    long_task.enqueue("http://target.test/")
    Message.objects.update(due_at=now_ms() - 11_000)
    for path in ("/", page_of(job), status_of(job) + "?seen=x", status_of(job) + "?timeline"):
        assert "The queue is not running" in client.get(path).text


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
        paths += [page_of(job), status_of(job), status_of(job) + "?timeline"]
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
        partial = client.get(status_of(job)).text
        assert re.search(r'aria-hidden="true">.</span>\s*<strong>\w', partial)


def test_pages_are_never_cached(client, make):
    for path in ("/", page_of(make()), "/healthz"):
        assert "no-store" in client.get(path)["Cache-Control"]


def test_job_page_without_javascript_reloads_until_the_end(client, make):
    refresh = '<noscript><meta http-equiv="refresh"'
    done = make(status="succeeded", finished_at=timezone.now())
    assert refresh in client.get(page_of(make())).text
    assert refresh not in client.get(page_of(done)).text
