"""The click that sends mail: addresses are read, strangers refused, and nobody is flooded."""

import json
import re

import pytest
from django.test import AsyncClient, Client

from harness.mail_server import NEVER, MailServer
from harness.processes import Site, site
from harness.visitor import TOKEN, Visitor
from jobs.models import Job
from recipes.mailing import MOST_USERS, Refused, few, problem, read_users
from recipes.models import MailDay

START = "/api/start-email-job"
pytestmark = pytest.mark.usefixtures("transactional_db", "printed_mail")


@pytest.fixture
def start(async_client: AsyncClient):
    async def start(payload: object, content_type: str = "application/json", **headers: str):
        body = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        return await async_client.post(START, body, content_type=content_type, headers=headers)

    return start


async def test_originals_request_gets_the_originals_answer(start):
    answer = await start({"users": ["a@gmail.com", "b@gmail.com", "c.gmail.com"]})
    job = await Job.objects.aget()
    assert answer.status_code == 200
    assert answer.json() == {
        "message": "Job started",
        "messageId": job.message_id,
        "jobId": job.id,
        "refused": [{"user": "c.gmail.com", "reason": "not an e-mail address"}],
    }
    assert (job.args, job.steps_total) == ([["a@gmail.com", "b@gmail.com"]], 2)


async def test_body_without_a_content_type_of_its_own_is_json_too(start):
    # as JavaScript's fetch sends a text
    answer = await start({"users": ["a@example.com"]}, "text/plain;charset=UTF-8")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("payload", "status", "told"),
    [
        (b"\xff", 400, "The body must be JSON"),
        ("[]", 400, "The body must be JSON"),
        ("{}", 400, "The body must be JSON"),
        ("[" * 60_000, 400, "The body must be JSON"),
        ({"users": "a@example.com"}, 400, "users must be a list of addresses"),
        ({"users": [1]}, 400, "users must be a list of addresses"),
        ({"users": []}, 400, "There is no address"),
        ({"users": ["nobody"]}, 400, "There is no address"),
        ({"users": [f"u{n}@example.com" for n in range(MOST_USERS + 1)]}, 400, "at most 50 users"),
        (b" " * 65_537, 413, "more than 65536 bytes"),
    ],
)
async def test_request_of_which_nothing_can_be_made_is_told_why(start, payload, status, told):
    answer = await start(payload)
    assert (answer.status_code, await Job.objects.acount()) == (status, 0)
    assert told in answer.json()["error"]


async def test_fifty_users_are_not_too_many(start):
    answer = await start({"users": [f"u{n}@example.com" for n in range(MOST_USERS)]})
    assert (answer.status_code, (await Job.objects.aget()).steps_total) == (200, 50)


def test_user_who_is_named_twice_gets_one_mail():
    assert read_users(["a@example.com", "b@example.com", "a@example.com"]) == (
        ["a@example.com", "b@example.com"],
        [],
    )


@pytest.mark.parametrize(
    "user",
    [
        "c.example.com",
        "",
        "A <a@example.com>",
        "a@example.com\nBcc: b@example.com",
        "a@example.com,b@example.com",
        "a\0@example.com",
        "ünicode@example.com",
        "<script>alert(1)</script>@example.com",
        "a@exa\N{RIGHT-TO-LEFT OVERRIDE}mple.com",
        f"{'a' * 300}@example.com",
    ],
)
def test_what_is_no_address_is_refused(user):
    assert problem(user)


@pytest.mark.parametrize("user", ["a@example.com", "a+b'c@exämple.com"])
def test_unusual_address_is_taken(user):
    assert problem(user) == ""


async def test_page_of_another_site_is_refused(start):
    users = {"users": ["a@example.com"]}
    for sender in (
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        answer = await start(users, "text/plain", **sender)
        assert (answer.status_code, await Job.objects.acount()) == (403, 0)


async def test_script_of_our_own_page_is_not_refused(start):
    own = {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert (await start({"users": ["a@example.com"]}, **own)).status_code == 200


def test_form_without_its_token_is_refused():
    browser = Client(enforce_csrf_checks=True)
    assert browser.post(START, {"users": "a@example.com"}).status_code == 403
    assert not Job.objects.exists()


def test_form_leads_to_the_page_that_shows_its_job():
    browser = Client(enforce_csrf_checks=True)
    token = TOKEN.search(browser.get("/email").text)[1]
    typed = {"users": "a@example.com\r\nb@example.com, c.example.com", "csrfmiddlewaretoken": token}
    answer = browser.post(START, typed)
    job = Job.objects.get()
    assert (answer.status_code, answer["Location"]) == (303, f"/email?job={job.id}")
    assert job.args == [["a@example.com", "b@example.com"]]
    page = browser.get(answer["Location"])
    assert "<bdi>c.example.com</bdi>" in page.text
    assert "refused: not an e-mail address" in page.text


def test_form_without_any_address_is_shown_again_with_what_was_typed(client):
    answer = client.post(START, {"users": "<b>nobody</b>"})
    assert answer.status_code == 400
    assert "There is no address to send mail to." in answer.text
    assert "<bdi>&lt;b&gt;nobody&lt;/b&gt;</bdi>" in answer.text
    assert ">&lt;b&gt;nobody&lt;/b&gt;</textarea>" in answer.text


def test_refused_users_fit_into_the_cookie_however_many_there_are(client):
    bad = " ".join("\N{PILE OF POO}" * 60 + str(number) for number in range(40))
    answer = client.post(START, {"users": f"a@example.com {bad}"}, follow=True)
    assert answer.status_code == 200
    assert re.search(r"<bdi>3\d more</bdi>", answer.text)
    assert len(client.cookies["sessionid"].value) < 3500


def test_as_many_refused_users_are_kept_as_there_are():
    assert few([Refused("a", "b")]) == [Refused("a", "b")]


def test_public_site_without_a_mail_server_sends_nothing_and_says_so(client, settings):
    settings.MAIL_IS_ON = False
    page = client.get("/email")
    assert "This site has no mail server" in page.text
    assert re.search(r"<button disabled>\s*Send e-mail", page.text)
    answer = client.post(START, {"users": ["a@example.com"]}, content_type="application/json")
    assert (answer.status_code, Job.objects.count()) == (503, 0)
    assert "EMAIL_URL" in answer.json()["error"]


def test_day_has_a_limit_for_all_visitors_together(settings):
    settings.EMAIL_MOST_A_DAY = 3
    users = {"users": ["a@example.com", "b@example.com"]}

    def start():
        return Client().post(START, users, content_type="application/json")

    assert start().status_code == 200
    answer = start()
    assert (answer.status_code, Job.objects.count()) == (429, 1)
    assert "Try again tomorrow" in answer.json()["error"]
    assert MailDay.objects.get().count == 2


async def test_page_is_told_what_has_happened_since_it_was_rendered(start, async_client):
    job_id = (await start({"users": ["a@example.com"]})).json()["jobId"]
    page = await async_client.get(f"/email?job={job_id}")
    version = re.search(r'data-live="[^"]+" data-version="([^"]+)"', page.text)[1]
    url = f"/email/{job_id}/changes"
    assert (await async_client.get(url, {"since": version})).status_code == 204
    job = await Job.objects.aget()
    job.status, job.steps_done = "running", 1
    job.log = [{"number": 1, "at": 1.0, "text": "a@example.com: sent"}]
    await job.asave()
    news = await async_client.get(url, {"since": version})
    assert news.status_code == 200
    assert re.search(r"<bdi>a@example.com</bdi>\s*<span class=\"hint\">sent</span>", news.text)
    assert news["Live-Version"] != version


async def test_job_of_another_task_is_not_shown_here(async_client, queued_job):
    from jobs.tasks import long_task

    job = await queued_job(long_task, "http://target.test/")
    assert (await async_client.get(f"/email/{job.id}/changes")).status_code == 204
    assert job.id not in (await async_client.get(f"/email?job={job.id}")).text


async def test_job_whose_arguments_are_not_ours_is_shown_too(async_client, queued_job):
    from recipes.emails import send_email

    job = await queued_job(send_email)
    assert (await async_client.get(f"/email?job={job.id}")).status_code == 200


async def test_hostile_address_in_a_message_is_harmless_on_the_page(async_client, queued_job):
    from recipes.emails import send_email

    job = await queued_job(send_email, ["<script>alert(1)</script>", "\N{RIGHT-TO-LEFT OVERRIDE}x"])
    page = (await async_client.get(f"/email?job={job.id}")).text
    assert "<script>alert" not in page
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page


def test_hosted_queue_carries_the_mails_too(tmp_path, cloud_settings):
    own = {"DEFAULT_FROM_EMAIL": "jobs@example.com", **cloud_settings}
    with MailServer() as mails, site(tmp_path, EMAIL_URL=mails.url, **own) as ours:
        mails.answers["b@example.com"] = NEVER
        ours.start_web()
        visitor = started(ours, ["a@example.com", "b@example.com", "c@example.com"])
        job = visitor.until("succeeded")
        assert (job["steps_done"], job["message_id"][:4]) == (3, "msg_")
        assert mails.sent_to == ["a@example.com", "c@example.com"]


def started(ours: Site, users: list[str]) -> Visitor:
    """A visitor who has started a job for users."""
    visitor = Visitor(ours.url)
    answer = visitor.http.post(f"{ours.url}{START}", json={"users": users}, timeout=30)
    visitor.job_id = answer.json()["jobId"]
    return visitor
