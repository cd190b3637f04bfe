"""Hosted QStash seen from the page: what goes wrong is told, and nothing is lost."""

import re
from pathlib import Path

import pytest
from django.urls import reverse

from harness.processes import Site, site
from harness.sink import Sink
from harness.waiting import eventually
from jobs.models import Job

HTMX = {"HX-Request": "true"}


@pytest.fixture
def failed(client, hosted, transactional_db) -> Job:
    """A job that the cloud did not want."""
    hosted.answer(401, {"error": "invalid token"})
    client.post("/jobs/start", headers=HTMX)
    return Job.objects.get()


def test_hosted_click_starts_a_job(client, hosted, transactional_db):
    answer = client.post("/jobs/start", headers=HTMX)
    assert "Started job with ID msg_cloud" in answer.text
    assert Job.objects.get().status == "queued"


def test_failure_is_told_with_its_reason_and_the_job_kept(client, hosted, transactional_db):
    hosted.answer(429, "", RateLimit_Reset="1700000000")
    answer = client.post("/jobs/start", headers=HTMX)
    assert answer.status_code == 200
    assert "Failed to start background job. QStash&#x27;s limit is used up." in answer.text
    assert "Send again" in answer.text


def test_failed_start_without_htmx_leads_to_the_job_all_the_same(client, hosted, transactional_db):
    hosted.answer(500, "<html>Oops</html>")
    page = client.post("/jobs/start", follow=True).text
    assert "QStash answered HTTP 500: &lt;html&gt;Oops" in page
    assert "Send again" in page


def test_job_that_was_not_sent_shows_why(client, failed):
    page = client.get(reverse("job_detail", args=[failed.id])).text
    assert failed.status == "not_sent"
    assert "QStash does not accept the token (invalid token). Check QSTASH_TOKEN." in page


def test_job_that_was_not_sent_can_be_sent_again(client, failed, hosted):
    answer = client.post(reverse("send_again", args=[failed.id]))
    failed.refresh_from_db()
    assert answer.status_code == 303
    assert (failed.status, failed.message_id, failed.error) == ("queued", "msg_cloud", "")


def test_second_sending_cannot_start_the_job_twice(client, failed, hosted):
    client.post(reverse("send_again", args=[failed.id]))
    first, second = (asked["headers"]["Upstash-Deduplication-Id"] for asked in hosted.asked)
    assert first == second == f"job-{failed.id}"


def test_job_page_lives_without_the_clouds_log(client, hosted, transactional_db):
    client.post("/jobs/start")
    hosted.answer(500, {"error": "on fire"})
    page = client.get(reverse("job_detail", args=[Job.objects.get().id])).text
    assert "The attempts are not known: QStash answered HTTP 500: on fire" in page


KEYS = {
    "QSTASH_CURRENT_SIGNING_KEY": "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r",
    "QSTASH_NEXT_SIGNING_KEY": "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs",
}


@pytest.fixture
def qstash(tmp_path: Path):
    """A second installation of this site, which the first takes for QStash; it is starting."""
    (tmp_path / "qstash").mkdir()
    with site(tmp_path / "qstash", BROKER_TOKEN="token-of-qstash", **KEYS) as running:
        running.start("-m", "gunicorn")
        yield running


def test_one_instance_of_this_site_is_qstash_to_another(qstash: Site, tmp_path: Path):
    hosted = {"QSTASH_URL": f"{qstash.url}/", "QSTASH_TOKEN": "token-of-qstash"}
    with Sink() as sink, site(tmp_path, LONG_TASK_TARGET_URL=sink.url, **hosted, **KEYS) as ours:
        sink.answer = lambda request: 500 if len(sink.requests) == 3 else 200
        ours.start_web()
        qstash.wait_until_up(qstash.processes[0])
        visitor = ours.click()
        assert "Started job with ID <code>msg_" in visitor.answer
        job = visitor.until("succeeded")
        assert (job["sent"], job["attempts"], len(sink.requests)) == (10, 2, 11)

        def timeline() -> list[str]:
            page = visitor.http.get(f"{ours.url}/jobs/{visitor.job_id}", timeout=10).text
            told = re.findall(r"attempt \d: (?:HTTP \d+|under way)", page)
            return told if "under way" not in str(told) else []

        assert eventually(timeline) == ["attempt 1: HTTP 503", "attempt 2: HTTP 200"]
