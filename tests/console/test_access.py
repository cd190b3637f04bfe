"""Only the operator gets in: by the password, not too often, for as long as it stays the same."""

import pytest
from django.db import connections
from django.test import AsyncClient, Client

from console import access
from console.models import SignIns
from groupcommit.transactions import write_transaction

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = ["messages", "messages/msg_1", "dead-letters", "queues", "schedules", "url-groups"]
ACTIONS = ["messages/msg_1/cancel", "dead-letters/take", "change/queue"]
PASSWORD = "correct horse battery staple"


@pytest.fixture
def password(settings) -> str:
    settings.CONSOLE_OPEN, settings.CONSOLE_PASSWORD = False, PASSWORD
    return PASSWORD


def sign_in(client: Client, given: str = PASSWORD, **form: str):
    return client.post("/queue/sign-in", {"password": given} | form)


@pytest.mark.parametrize("page", [*PAGES, "sign-in", "messages/changes"])
def test_pages_are_off_without_a_password(client, settings, page):
    settings.CONSOLE_OPEN, settings.CONSOLE_PASSWORD = False, ""
    answer = client.get(f"/queue/{page}")
    assert answer.status_code == 404
    assert "Set <code>CONSOLE_PASSWORD</code>" in answer.content.decode()
    assert sign_in(client, "").status_code == 404


def test_pages_are_open_in_development(client, settings):
    settings.CONSOLE_OPEN, settings.CONSOLE_PASSWORD = True, ""
    assert client.get("/queue/messages").status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_stranger_is_sent_to_the_form(client, password, page):
    answer = client.get(f"/queue/{page}?label=a")
    assert answer.status_code == 303
    assert (
        answer["Location"]
        == f"/queue/sign-in?next=%2Fqueue%2F{page.replace('/', '%2F')}%3Flabel%3Da"
    )


@pytest.mark.parametrize("action", ACTIONS)
def test_stranger_changes_nothing(client, password, action):
    assert client.post(f"/queue/{action}", {"do": "pause", "name": "q"}).status_code == 303


@pytest.mark.parametrize("header", [{"HX-Request": "true"}, {"Accept": "text/event-stream"}])
def test_open_page_of_somebody_signed_out_gets_no_news_and_no_form(client, password, header):
    answer = client.get("/queue/messages/changes", headers=header)
    assert (answer.status_code, answer.content) == (404, b"Sign in again.")


def test_password_lets_in_and_leads_back(client, password):
    answer = sign_in(client, next="/queue/queues?after=1")
    assert (answer.status_code, answer["Location"]) == (303, "/queue/queues?after=1")
    assert client.get("/queue/queues").status_code == 200
    client.post("/queue/sign-out")
    assert client.get("/queue/queues").status_code == 303


@pytest.mark.parametrize(
    "back", ["https://evil.test/", "//evil.test", "/\\evil.test", "javascript:x"]
)
def test_form_leads_nowhere_else(client, password, back):
    assert sign_in(client, next=back)["Location"] == "/queue/messages"


def test_cookie_is_for_this_site_s_pages_only(client, password, settings):
    settings.SERVED_OVER_HTTPS = True
    cookie = sign_in(client).cookies["operator"]
    assert cookie["httponly"] and cookie["secure"] and cookie["samesite"] == "Strict"
    assert cookie["max-age"] == 12 * 3600
    assert PASSWORD not in cookie.value


def test_other_password_lets_nobody_in(client, password):
    answer = sign_in(client, "wrong")
    assert answer.status_code == 403
    assert "operator" not in answer.cookies
    assert "That is not the password." in answer.content.decode()


@pytest.mark.parametrize("given", ["", "\udc80", "ä" * 500, PASSWORD + " "])
def test_odd_text_is_not_the_password(password, given):
    assert not access.is_password(given)


def test_new_password_ends_all_sessions(client, password, settings):
    sign_in(client)
    settings.CONSOLE_PASSWORD = "another one"
    assert client.get("/queue/messages").status_code == 303


def test_session_ends_by_itself(client, password, monkeypatch):
    sign_in(client)
    monkeypatch.setattr(access, "SESSION_SECONDS", -1)
    assert client.get("/queue/messages").status_code == 303


@pytest.mark.parametrize("cookie", ["", "x", "x:1:y", "é"])
def test_forged_cookie_is_none(client, password, cookie):
    client.cookies["operator"] = cookie
    assert client.get("/queue/messages").status_code == 303


def test_sixth_attempt_in_a_minute_is_refused_even_with_the_password(client, password):
    assert [sign_in(client, "wrong").status_code for _ in range(5)] == [403] * 5
    answer = sign_in(client)
    assert (answer.status_code, answer["Retry-After"]) == (429, "60")
    SignIns.objects.update(since=0)  # a minute has passed
    assert sign_in(client).status_code == 303


def test_attempts_are_counted_in_the_database_that_all_processes_share(password):
    assert [access.may_try("192.0.2.1") for _ in range(6)] == [True] * 5 + [False]
    assert access.may_try("192.0.2.2")
    assert SignIns.objects.get(address="").attempts == 6


def test_all_addresses_together_are_limited(password, monkeypatch):
    monkeypatch.setitem(access.MOST_ATTEMPTS, "all", 3)
    assert [access.may_try(f"192.0.2.{n}") for n in range(4)] == [True] * 3 + [False]


def test_addresses_of_one_ipv6_customer_are_counted_together(password):
    addresses = [f"2001:db8::{n}" for n in range(6)]
    assert [access.may_try(address) for address in addresses] == [True] * 5 + [False]
    assert access.may_try("2001:db8:0:1::1")


def test_rows_of_addresses_are_not_kept(password):
    with write_transaction():
        SignIns.objects.create(address="192.0.2.1", since=1)
    access.may_try("192.0.2.2")
    assert not SignIns.objects.filter(address="192.0.2.1").exists()


def test_known_password_begins_the_count_anew(client, password):
    for _ in range(4):
        sign_in(client, "wrong")
    sign_in(client)
    client.cookies.clear()
    assert sign_in(client, "wrong").status_code == 403


def test_forms_are_protected_against_forgery(password):
    client = Client(enforce_csrf_checks=True)
    assert sign_in(client).status_code == 403
    assert SignIns.objects.count() == 0


async def test_action_without_the_form_s_token_is_refused(settings):
    settings.CONSOLE_OPEN = True
    client = AsyncClient(enforce_csrf_checks=True)
    for action in ACTIONS:
        assert (await client.post(f"/queue/{action}", {"do": "delete:all"})).status_code == 403


def test_nothing_of_the_pages_is_cached(client, password):
    sign_in(client)
    assert "no-store" in client.get("/queue/messages")["Cache-Control"]
    connections.close_all()
