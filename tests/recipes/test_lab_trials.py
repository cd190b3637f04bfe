"""Trials on a job that has ended: sent over HTTP, really signed, believed or refused."""

import asyncio

import jwt
import pytest
from django.test import Client

from harness.processes import Site
from harness.waiting import eventually
from jobs.exceptions import Refused
from jobs.models import Job
from jobs.signatures import SignatureError, verify
from recipes.lab_trials import FORGERS_KEY, claims_for, ended, take_back
from tests.recipes.test_lab import Experimenter

BUTTONS = ["Deliver the same message again", "Forge a signature", "Retry the dead letter"]
URL, BODY, KEY = "http://testserver/api/long-task", b'{"job_id": "1"}', "sig_" + "k" * 28


def test_finished_job_thanks_for_its_message_and_refuses_a_forgery(either: Site):
    visitor = Experimenter(either.url).start("well")
    before = visitor.until("succeeded")
    again = visitor.try_on_job("deliver")
    assert "The same message again: HTTP 200" in again
    assert '"note": "the job has ended: succeeded"' in again
    forged = visitor.try_on_job("forge")
    assert "A forged signature: HTTP 403" in forged
    assert '{"error": "invalid signature"}' in forged
    assert visitor.job() == before
    log = either.log.read_text()
    assert f"nothing to do job={visitor.job_id}" in log
    assert "refused a message" in log
    assert "signed with none of our keys" in log
    assert "This message has no dead letter." in visitor.try_on_job("retry")


def test_message_that_comes_again_is_told_by_what_it_has_done(either: Site):
    visitor = Experimenter(either.url).start("endpoint-refuses")
    visitor.until("failed")
    # The queue tells of the end as well, and must not do so while the job runs again.
    told = f"job failed job={visitor.job_id}"
    eventually(lambda: told in either.log.read_text(), what="the failure callback")
    assert "The job had failed, so it ran again" in visitor.try_on_job("deliver")
    assert visitor.job()["status"] == "succeeded"
    assert "The job had succeeded, so nothing was done." in visitor.try_on_job("deliver")


def test_without_a_script_the_outcome_has_a_page_of_its_own(either: Site):
    visitor = Experimenter(either.url).start("endpoint-refuses")
    visitor.until("failed")
    page = visitor.try_on_job("forge", htmx=False)
    assert "A forged signature: HTTP 403" in page
    assert f"Back to job {visitor.job_id[:8]}" in page


def test_no_secret_is_shown_or_kept_in_the_session(either: Site):
    visitor = Experimenter(either.url).start("well")
    visitor.until("succeeded")
    for trial in ("deliver", "forge"):
        text = visitor.try_on_job(trial)
        assert "eyJ" not in text
        assert "masked" in text


def test_claims_are_those_that_the_receiver_checks():
    signature = jwt.encode(claims_for(URL, BODY), KEY, "HS256")
    assert verify(signature, BODY, URL, [KEY])["sub"] == URL
    with pytest.raises(SignatureError, match="not the one that was signed"):
        verify(signature, BODY + b" ", URL, [KEY])


def test_forgers_key_is_none_of_ours(settings):
    keys = [settings.QSTASH_CURRENT_SIGNING_KEY, settings.QSTASH_NEXT_SIGNING_KEY]
    forged = jwt.encode(claims_for(URL, BODY), FORGERS_KEY, "HS256")
    with pytest.raises(SignatureError, match="none of our keys"):
        verify(forged, BODY, URL, keys)


@pytest.fixture
def started(client, transactional_db) -> Job:
    client.post("/jobs/start")
    return Job.objects.get()


@pytest.mark.parametrize("trial", ["deliver", "forge"])
def test_job_that_has_not_ended_is_left_alone(client, started, trial):
    answer = client.post(f"/lab/{started.id}/{trial}", headers={"HX-Request": "true"})
    assert "The job has not ended yet." in answer.text


def test_failed_job_that_fails_again_does_not_wait_for_a_queue_that_knows_nothing(started):
    reason = "step 1: the target said no"
    Job.objects.update(status="waiting", error=reason)
    job = asyncio.run(ended(started, Job.objects.get()))
    assert (job.status, job.error) == ("failed", reason)
    assert Job.objects.get().status == "failed"


def test_job_that_was_published_again_meanwhile_is_left_to_the_queue(started):
    Job.objects.update(status="waiting", messages=[{"id": "msg_next", "at": 0}])
    asyncio.run(ended(started, Job.objects.get()))
    assert Job.objects.get().status == "waiting"


@pytest.mark.parametrize("trial", ["deliver", "forge", "retry"])
def test_only_its_owner_tries_something_on_a_job(started, trial):
    assert Client().post(f"/lab/{started.id}/{trial}").status_code == 404
    assert Client().get(f"/lab/{started.id}").status_code == 404


def test_buttons_are_shown_to_the_owner_only(client, started):
    Job.objects.update(status="succeeded", attempts=1)
    assert "Forge a signature" in client.get(f"/jobs/{started.id}").text
    assert "Forge a signature" not in Client().get(f"/jobs/{started.id}").text


@pytest.mark.parametrize(
    ("status", "attempts", "shown"),
    [
        ("queued", 0, []),
        ("running", 1, []),
        ("cancelled", 0, []),
        ("succeeded", 1, ["Deliver the same message again", "Forge a signature"]),
        ("failed", 0, ["Retry the dead letter"]),
        ("failed", 1, BUTTONS),
    ],
)
def test_button_is_there_only_while_it_can_do_something(client, started, status, attempts, shown):
    Job.objects.update(status=status, attempts=attempts)
    page = client.get(f"/jobs/{started.id}").text
    assert [button for button in BUTTONS if button in page] == shown
    news = client.get(f"/jobs/{started.id}/changes").text
    assert [button for button in BUTTONS if button in news] == shown


def test_page_without_an_outcome_leads_to_the_job(client, started):
    answer = client.get(f"/lab/{started.id}")
    assert (answer.status_code, answer["Location"]) == (303, f"/jobs/{started.id}")


def test_job_whose_task_is_gone_cannot_be_delivered(client, started):
    Job.objects.update(task="jobs.tasks.removed", status="succeeded")
    answer = client.post(f"/lab/{started.id}/deliver", headers={"HX-Request": "true"})
    assert "There is no task jobs.tasks.removed any more." in answer.text


class Answers:
    """A queue that answers what it is told."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def call(self, method: str, path: str) -> "Answers":
        return self

    def json(self) -> object:
        return self.answer


@pytest.mark.parametrize("answer", [[], {}, {"messages": [{}]}, {"messages": 1}, None])
def test_answer_of_another_kind_is_said_to_be_unreadable(answer):
    with pytest.raises(Refused, match="cannot be read"):
        take_back(Answers(answer), "msg_1")
