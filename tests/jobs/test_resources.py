"""Messages that name no job: their bodies, and the jobs that are stored before they arrive."""

import json

import pytest

from jobs.exceptions import PublishError
from jobs.models import Job
from jobs.owners import owner_in
from jobs.resources import letter_without_job, store_expected
from tests.jobs.documented_tasks import echo


def test_letter_names_the_task_by_its_url_and_the_owner_but_no_job():
    letter = letter_without_job(echo.using(owner="somebody"), "hello")
    body = json.loads(letter.body)
    assert letter.url == "http://testserver/api/echo"
    assert (body["args"], body["kwargs"]) == (["hello"], {})
    assert owner_in(body) == "somebody"
    assert "job_id" not in body


def test_letter_has_the_tasks_options():
    headers = letter_without_job(echo.using(retries=7, callback="/api/answered")).headers
    assert headers["Upstash-Retries"] == "7"
    assert headers["Upstash-Callback"] == "http://testserver/api/answered"
    assert headers["Upstash-Failure-Callback"] == "http://testserver/api/job-failed"


def test_letter_of_a_task_without_a_callback_names_none():
    assert "Upstash-Callback" not in letter_without_job(echo).headers


def test_without_a_site_there_is_no_letter(settings):
    settings.PUBLIC_URL = ""
    with pytest.raises(PublishError, match="Set PUBLIC_URL"):
        letter_without_job(echo)


async def test_expected_job_is_the_one_that_its_message_gets_on_arrival(transactional_db, deliver):
    await store_expected(echo.using(owner="somebody"), ["hello"], "msg_1")
    job = await Job.objects.aget()
    assert (job.id, job.status, job.message_id) == (Job.id_for_message("msg_1"), "queued", "msg_1")
    assert (await deliver("/api/echo", {"args": ["hello"]})).status_code == 200
    await job.arefresh_from_db()
    assert (job.status, job.owner, job.args) == ("succeeded", "somebody", ["hello"])
    assert await Job.objects.acount() == 1


async def test_job_whose_message_was_faster_is_left_as_it_is(transactional_db, deliver):
    await deliver("/api/echo", {"args": ["hello"]})
    await store_expected(echo.using(owner="somebody"), ["hello"], "msg_1")
    assert (await Job.objects.aget()).status == "succeeded"
