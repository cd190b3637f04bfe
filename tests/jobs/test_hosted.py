"""Hosted QStash: a job is saved, then published; what goes wrong is told, and nothing is lost."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.db.backends.signals import connection_created
from django.tasks import task_backends
from django.tasks.signals import task_enqueued
from django.urls import reverse
from django.utils import timezone

from harness.processes import Site, site
from harness.sink import Sink
from harness.waiting import eventually
from jobs.exceptions import BadToken, NoRoute, PublishError, Refused
from jobs.hosted import HostedQueue
from jobs.interface import task_of
from jobs.models import Arrival, Job, claim_jobs
from tests.jobs.conftest import DROP, Cloud
from tests.jobs.documented_tasks import echo

HTMX = {"HX-Request": "true"}
HOSTED = "jobs.backends.HostedQueue"


def lines(cloud: Cloud) -> list[str]:
    """What QStash has been asked for, without headers and bodies."""
    return [asked["line"] for asked in cloud.asked]


def once_ids(cloud: Cloud) -> list[str]:
    """The deduplication ids of what was published."""
    return [asked["headers"]["Upstash-Deduplication-Id"] for asked in cloud.asked]


def begin() -> None:
    """Claim the job, as its message does on arrival."""
    job = Job.objects.get()
    with transaction.atomic():
        claim_jobs([Arrival(job.id, "msg_cloud", 1, job.task, "worker-1", timezone.now())])


def once[T](happens: Callable[[], object], answer: T) -> Callable[[], T]:
    """An answer of QStash's that comes after something else has happened."""

    def wait_and_answer() -> T:
        try:
            happens()
        finally:
            connection.close()  # this is a thread of the server's
        return answer

    return wait_and_answer


@pytest.fixture
def queue(hosted, transactional_db) -> HostedQueue:
    return task_backends["default"]


def test_job_is_saved_and_its_message_published(queue, cloud):
    result = echo.enqueue("hello")
    job = Job.objects.get()
    assert (job.id, job.status, job.message_id) == (result.id, "queued", "msg_cloud")
    assert lines(cloud) == ["POST /v2/publish/http://testserver/api/echo"]


def test_job_is_in_the_database_before_qstash_is_asked(queue, cloud):
    seen = []
    look = partial(seen.extend, Job.objects.values_list("status", flat=True))
    cloud.answers.append(once(look, cloud.usual))
    echo.enqueue()
    assert seen == ["not_sent"]


async def test_job_that_is_not_published_is_kept_with_the_reason(queue, cloud):
    cloud.answer(401, {"error": "invalid token"})
    with pytest.raises(BadToken) as caught:
        await echo.aenqueue()
    job = await Job.objects.aget()
    assert (job.status, job.message_id, caught.value.job) == ("not_sent", "", job)
    assert "Check QSTASH_TOKEN" in job.error


def test_failed_publish_is_logged_with_its_cause(queue, cloud, caplog):
    cloud.usual = DROP
    with pytest.raises(NoRoute):
        echo.enqueue()
    (record,) = [record for record in caplog.records if record.name == "jobs.hosted"]
    assert (record.levelname, record.message) == ("WARNING", "publish failed")
    assert record.job == Job.objects.get().id
    assert "ConnectionError" in record.cause


def test_qstash_url_that_is_none_leaves_the_job_unsent(queue, settings):
    settings.QSTASH_URL = "qstash.upstash.io"
    with pytest.raises(PublishError, match="must be the bare address"):
        echo.enqueue()
    assert (Job.objects.get().status, Job.objects.get().error[:10]) == ("not_sent", "QSTASH_URL")


def test_job_that_is_not_published_was_not_enqueued(queue, cloud):
    heard = []

    def hear(sender, task_result, **kwargs):
        heard.append(task_result.id)

    cloud.answer(500, "on fire")
    task_enqueued.connect(hear)
    try:
        with pytest.raises(Refused):
            echo.enqueue()
    finally:
        task_enqueued.disconnect(hear)
    assert heard == []


def test_site_that_does_not_know_its_address_saves_and_publishes_nothing(queue, cloud, settings):
    settings.PUBLIC_URL = ""
    with pytest.raises(PublishError, match="Set PUBLIC_URL"):
        echo.enqueue()
    assert not Job.objects.exists()
    assert cloud.asked == []


def test_unsent_job_is_published_under_the_same_deduplication_id(queue, cloud):
    cloud.answer(500, "on fire")
    with pytest.raises(Refused):
        echo.enqueue()
    job = Job.objects.get()
    queue.publish(job, task_of(job))
    assert once_ids(cloud) == [f"job-{job.id}-0-0"] * 2
    assert (Job.objects.get().status, Job.objects.get().error) == ("queued", "")


def test_failed_job_is_published_under_another_deduplication_id(queue, cloud):
    job = echo.enqueue().job
    Job.objects.update(status="failed")
    job.refresh_from_db()
    cloud.answer(200, {"messageId": "msg_second"})
    queue.publish(job, task_of(job))
    assert once_ids(cloud) == [f"job-{job.id}-0-0", f"job-{job.id}-1-0"]
    assert Job.objects.get().message_id == "msg_second"


def test_message_may_arrive_before_its_publisher_has_the_answer(queue, cloud):
    cloud.answers.append(once(begin, cloud.usual))
    job = echo.enqueue().job
    assert (job.status, job.message_id) == ("running", "msg_cloud")
    assert [message["id"] for message in Job.objects.get().messages] == ["msg_cloud"]


def test_message_may_arrive_although_its_publisher_gets_no_answer(queue, cloud):
    cloud.answers.append(once(begin, (500, {}, "on fire")))
    with pytest.raises(Refused):
        echo.enqueue()
    assert (Job.objects.get().status, Job.objects.get().error) == ("running", "")


def test_job_of_a_transaction_is_published_after_its_commit(queue, cloud):
    with transaction.atomic():
        result = echo.enqueue()
        assert cloud.asked == []
        assert Job.objects.get().status == "not_sent"
    assert once_ids(cloud) == [f"job-{result.id}-0-0"]
    assert Job.objects.get().status == "queued"


def test_job_of_a_transaction_that_is_rolled_back_is_never_published(queue, cloud):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        echo.enqueue()
        raise ZeroDivisionError
    assert cloud.asked == []
    assert not Job.objects.exists()


def test_failure_after_the_commit_is_logged_and_not_raised(queue, cloud, caplog):
    cloud.answer(500, "on fire")
    with transaction.atomic():
        echo.enqueue()
    assert Job.objects.get().status == "not_sent"
    assert "on fire" in Job.objects.get().error
    assert "publish failed" in caplog.messages


def test_message_for_a_queue_is_enqueued_and_the_queue_created_once(queue, cloud, settings):
    entry = {"BACKEND": HOSTED, "QUEUES": ["mail"], "OPTIONS": {"parallelism": {"mail": 2}}}
    settings.TASKS = {"default": entry}
    mail = echo.using(queue_name="mail")
    mail.enqueue()
    mail.enqueue()
    enqueued = "POST /v2/enqueue/mail/http://testserver/api/echo"
    assert lines(cloud) == ["POST /v2/queues", enqueued, enqueued]


def test_queue_without_a_limit_is_left_as_it_is(queue, cloud, settings):
    settings.TASKS = {"default": {"BACKEND": HOSTED, "QUEUES": ["mail"]}}
    echo.using(queue_name="mail").enqueue()
    assert lines(cloud) == ["POST /v2/enqueue/mail/http://testserver/api/echo"]


async def test_waiting_for_qstash_leaves_no_database_connection_open(queue):
    opened = []

    def remember(connection, **kwargs):
        opened.append(connection)

    connection_created.connect(remember)
    try:
        await echo.aenqueue()
    finally:
        connection_created.disconnect(remember)
    assert len(opened) == 1
    assert opened[0].connection is None


async def test_cancelled_job_takes_its_message_along(queue, cloud):
    job = (await echo.aenqueue()).job
    assert await queue.acancel(job)
    assert lines(cloud)[-1] == "DELETE /v2/messages/msg_cloud"
    assert (await Job.objects.aget()).status == "cancelled"


async def test_job_is_cancelled_even_if_qstash_cannot_be_asked(queue, cloud, caplog):
    job = (await echo.aenqueue()).job
    cloud.usual = DROP
    assert await queue.acancel(job)
    assert (await Job.objects.aget()).status == "cancelled"
    assert "cancel failed" in caplog.messages


async def test_cancelling_a_job_without_a_message_asks_qstash_for_nothing(queue, cloud):
    cloud.answer(500, "on fire")
    with pytest.raises(Refused) as caught:
        await echo.aenqueue()
    cloud.reset()
    assert await queue.acancel(caught.value.job)
    assert cloud.asked == []


async def test_cancelled_job_that_starts_again_needs_a_message_of_its_own(queue, cloud):
    """QStash may have taken the first one, whose answer was lost, and delivered it meanwhile."""
    cloud.answer(500, "on fire")
    with pytest.raises(Refused) as caught:
        await echo.aenqueue()
    job = caught.value.job
    await queue.acancel(job)
    await queue.apublish(job, task_of(job))
    first, second = (each for each in once_ids(cloud) if each)
    assert first != second


async def test_job_that_has_begun_meanwhile_is_not_cancelled(queue, cloud):
    job = (await echo.aenqueue()).job
    await sync_to_async(begin)()
    cloud.reset()
    assert not await queue.acancel(job)
    assert (await Job.objects.aget()).status == "running"
    assert cloud.asked == []


async def test_attempts_come_from_the_log_of_every_message(queue, cloud):
    job = (await echo.aenqueue()).job
    job.messages = [{"id": f"{name}_{job.id}", "at": 0} for name in ("first", "second")]
    cloud.answer(200, {"events": [{"state": "ACTIVE", "time": 1000}]})
    cloud.answer(200, {"events": [{"state": "ACTIVE", "time": 2000}]})
    first, second = await queue.attempts(job)
    assert (first.at.timestamp(), second.at.timestamp()) == (1, 2)


async def test_log_that_cannot_be_had_is_a_publish_error(queue, cloud):
    job = (await echo.aenqueue()).job
    job.messages = [{"id": f"msg_{job.id}", "at": 0}]
    cloud.answer(500, "on fire")
    with pytest.raises(Refused):
        await queue.attempts(job)


def test_site_cannot_say_whether_qstash_is_stuck(queue):
    assert not queue.is_stuck()


# Seen from the page.


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
    answer = client.post(reverse("publish_again", args=[failed.id]))
    failed.refresh_from_db()
    assert answer.status_code == 303
    assert (failed.status, failed.message_id, failed.error) == ("queued", "msg_cloud", "")


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
        assert (job["steps_done"], job["attempts"], len(sink.requests)) == (10, 2, 11)

        def timeline() -> list[str]:
            page = visitor.http.get(f"{ours.url}/jobs/{visitor.job_id}", timeout=10).text
            # The job's row is ahead of QStash's log, which is read every two seconds.
            told = re.findall(r"attempt \d: HTTP \d+", page)
            return sorted(set(told)) if "attempt 2: HTTP" in page else []

        assert eventually(timeline) == ["attempt 1: HTTP 503", "attempt 2: HTTP 200"]
