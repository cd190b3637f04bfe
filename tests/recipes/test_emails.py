"""One job, many mails: against a real SMTP server that refuses, goes away and comes back."""

import re
import signal
from collections import Counter
from pathlib import Path

import pytest
import requests

from harness.mail_server import GONE, LATER, NEVER, MailServer
from harness.processes import site
from harness.waiting import eventually
from jobs.models import Job
from jobsite.settings import mailer
from recipes.emails import send_email

TASK = "/api/send-email"
USERS = ["a@example.com", "b@example.com", "c@example.com"]
A, B, C = USERS


@pytest.fixture
def attempt(deliver, queued_job):
    """Deliver the message of one job for USERS, again each time; the status and the job."""
    saved: list[Job] = []

    async def attempt(users: list[str] = USERS, retried: int = 0, **fields: object):
        if not saved:
            saved.append(await queued_job(send_email.using(steps=len(users)), users, **fields))
        job = saved[0]
        payload = {"job_id": job.id, "args": job.args, "kwargs": job.kwargs}
        response = await deliver(TASK, payload, retried)
        await job.arefresh_from_db()
        return response.status_code, job

    return attempt


def noted(job: Job) -> list[str]:
    return [step["text"] for step in job.log]


async def test_every_user_gets_one_mail_over_one_connection(attempt, mail_server):
    status, job = await attempt()
    assert (status, job.status, job.steps_done) == (200, "succeeded", 3)
    assert noted(job) == [f"{A}: sent", f"{B}: sent", f"{C}: sent"]
    assert (mail_server.sent_to, mail_server.connections) == (USERS, 1)


async def test_mail_says_who_has_sent_it_and_that_a_machine_has(attempt, mail_server, settings):
    settings.DEFAULT_FROM_EMAIL = "jobs@jobs.example.com"
    _, job = await attempt([A])
    (mail,) = mail_server.mails
    assert (mail.message["From"], mail.message["To"]) == ("jobs@jobs.example.com", A)
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.message["Message-ID"] == f"<{job.id}.1@testserver>"
    assert "entered your address at http://testserver" in mail.message.get_payload()


async def test_user_who_is_refused_for_good_is_noted_and_the_others_get_theirs(
    attempt, mail_server
):
    mail_server.answers[B] = NEVER
    status, job = await attempt()
    assert (status, job.status) == (200, "succeeded")
    assert noted(job)[1] == f"{B}: refused, {NEVER}"
    assert mail_server.sent_to == [A, C]


async def test_user_who_is_refused_for_now_is_tried_again_and_the_others_need_not_wait(
    attempt, mail_server
):
    mail_server.answers[B] = [LATER]
    status, job = await attempt()
    assert (status, job.status) == (503, "waiting")
    assert job.error == f"step 3: refused for now: {B}: {LATER}"
    assert mail_server.sent_to == [A, C]
    status, job = await attempt(retried=1)
    assert (status, job.status) == (200, "succeeded")
    assert noted(job) == [f"{A}: sent", f"{C}: sent", f"{B}: sent"]
    assert mail_server.sent_to == [A, C, B]


async def test_server_that_goes_away_in_the_middle_is_asked_again_from_there(attempt, mail_server):
    mail_server.answers[B] = [GONE]
    status, job = await attempt()
    assert (status, job.status, noted(job)) == (503, "waiting", [f"{A}: sent"])
    assert "the mail server is away: Connection unexpectedly closed" in job.error
    status, job = await attempt(retried=1)
    assert (status, mail_server.sent_to, mail_server.connections) == (200, USERS, 2)


async def test_server_that_closes_for_now_ends_the_attempt(attempt, mail_server):
    mail_server.answers[B] = ["421 4.3.2 Closing"]
    status, job = await attempt()
    assert (status, noted(job)) == (503, [f"{A}: sent"])
    status, job = await attempt(retried=1)
    assert (status, mail_server.sent_to) == (200, USERS)


async def test_server_that_cannot_be_reached_means_another_try(attempt, mail_server):
    mail_server.stop()
    status, job = await attempt()
    assert (status, job.status, job.steps_done) == (503, "waiting", 0)
    assert job.error.startswith("step 1: the mail server is away: ")
    mail_server.start()
    status, _ = await attempt(retried=1)
    assert (status, mail_server.sent_to) == (200, USERS)


async def test_message_that_comes_twice_mails_nobody_twice(attempt, mail_server):
    await attempt()
    status, _ = await attempt(retried=1)
    assert (status, mail_server.sent_to) == (200, USERS)


async def test_job_that_is_run_again_mails_only_those_without_a_note(attempt, mail_server):
    log = [{"number": 1, "at": 1.0, "text": f"{B}: sent"}]
    status, _ = await attempt(steps_done=1, log=log)
    assert (status, mail_server.sent_to) == (200, [A, C])


async def test_note_of_one_user_is_not_taken_for_anothers(attempt, mail_server):
    log = [{"number": 1, "at": 1.0, "text": f"x{A}: sent"}]
    await attempt([A], steps_done=1, log=log)
    assert mail_server.sent_to == [A]


async def test_address_that_no_server_can_be_given_is_noted_as_refused(attempt, mail_server):
    status, job = await attempt([A, "ünicode@example.com", "two@a.example, three@a.example", C])
    assert (status, mail_server.sent_to) == (200, [A, C])
    assert [text.partition(": ")[2] for text in noted(job)] == [
        "sent",
        "refused, this is no address",
        "refused, this is no address",
        "sent",
    ]


async def test_server_that_does_not_accept_the_sender_ends_the_job(attempt, mail_server):
    mail_server.answer_to_sender = "553 5.7.1 Sender not allowed"
    status, job = await attempt()
    assert (status, job.status) == (489, "failed")
    assert "refuses this site: 553 5.7.1 Sender not allowed" in job.error


async def test_server_without_tls_gets_no_mail_unless_it_may_be_plain(
    attempt, mail_server, settings
):
    settings.MAILERS = {"default": mailer(f"smtp://127.0.0.1:{mail_server.port}")}
    status, job = await attempt()
    assert (status, job.status, mail_server.mails) == (489, "failed", [])
    assert "cannot do what EMAIL_URL asks for" in job.error


async def test_mails_are_printed_where_there_is_no_server_to_send_them(attempt, settings, capsys):
    settings.MAILERS = {"default": mailer("")}
    status, _ = await attempt()
    printed = re.findall("^To: (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert (status, printed) == (200, USERS)


async def test_site_without_a_mail_server_ends_a_job_that_needs_one(attempt):
    status, job = await attempt()
    assert (status, job.error) == (489, "step 1: this site has no mail server")


def test_kill_in_the_middle_repeats_only_the_mail_in_flight(tmp_path: Path):
    with MailServer() as mails:
        held = mails.hold(B)
        own = {"EMAIL_URL": mails.url, "DEFAULT_FROM_EMAIL": "jobs@example.com"}
        with site(tmp_path, **own, BROKER_LEASE_SECONDS="2") as ours:
            web = ours.start_web()
            start = f"{ours.url}/api/start-email-job"
            job_id = requests.post(start, json={"users": USERS}, timeout=30).json()["jobId"]
            assert held.came.wait(30)
            ours.stop(web, signal.SIGKILL)
            held.released.set()
            ours.start_web()

            def job() -> dict:
                url, wanted = f"{ours.url}/jobs/{job_id}", {"Accept": "application/json"}
                return requests.get(url, headers=wanted, timeout=30).json()

            eventually(lambda: job()["status"] == "succeeded", seconds=60, what="the job's end")
    assert Counter(mails.sent_to) == {A: 1, B: 2, C: 1}
    names = {mail.message["Message-ID"] for mail in mails.mails}
    assert names == {f"<{job_id}.{number}@127.0.0.1>" for number in (1, 2, 3)}
