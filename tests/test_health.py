"""`/healthz`, as a load balancer and an operator ask for it."""

import pytest
from django.db import DatabaseError
from django.test import RequestFactory

from broker.clock import now_ms
from broker.models import Message, Pulse
from jobsite import health
from jobsite.health import healthz


@pytest.fixture
def overdue(db) -> Message:
    """A message that has been due for eleven seconds."""
    then = now_ms() - 11_000
    return Message.objects.create(message_id="msg_1", not_before=then, due_at=then)


@pytest.mark.django_db
@pytest.mark.parametrize("urls", ["jobsite.urls", "jobsite.broker_urls"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_healthy_site_answers_200(client, settings, urls, method):
    settings.ROOT_URLCONF = urls
    assert client.generic(method, "/healthz").status_code == 200


@pytest.mark.django_db
def test_head_has_no_body():
    assert healthz(RequestFactory().head("/healthz")).content == b""


@pytest.fixture
def dispatcher(db) -> Pulse:
    """A dispatcher that has just shown a sign of life."""
    return Pulse.objects.create(dispatcher="one", seen_at=now_ms())


@pytest.mark.django_db
def test_report_names_database_queue_and_dispatcher(client, dispatcher):
    report = client.get("/healthz").json()
    assert report.pop("database_milliseconds") >= 0
    assert report == {"database": "ok", "queue": "embedded", "dispatcher": "ok"}


@pytest.mark.django_db
def test_site_on_which_no_dispatcher_has_run_is_healthy_and_says_so(client):
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.json()["dispatcher"] == "none is running, and no message waits for one"


def test_dispatcher_that_died_a_while_ago_is_not_called_ok(client, dispatcher):
    Pulse.objects.update(seen_at=now_ms() - 11_000)
    response = client.get("/healthz")
    assert (response.status_code, response.json()["dispatcher"]) == (200, health.NONE)


def test_message_that_is_due_in_an_hour_waits_for_no_dispatcher_yet(client, overdue):
    Message.objects.update(due_at=now_ms() + 3_600_000)
    assert client.get("/healthz").json()["dispatcher"] == health.NONE


def test_only_reading_is_allowed(client):
    assert client.post("/healthz").status_code == 405


def test_overdue_messages_that_nothing_claims_are_reported(client, overdue):
    response = client.get("/healthz")
    assert response.status_code == 503
    assert "queue is not running" in response.json()["dispatcher"]


def test_dispatcher_with_a_sign_of_life_is_only_busy(client, overdue):
    Pulse.objects.create(dispatcher="busy", seen_at=now_ms(), in_flight=1000)
    response = client.get("/healthz")
    assert (response.status_code, response.json()["dispatcher"]) == (200, "ok")


def test_hosted_queue_does_not_need_a_dispatcher(client, overdue, settings):
    settings.QSTASH_TOKEN = "token"
    response = client.get("/healthz")
    assert (response.status_code, response.json()["queue"]) == (200, "hosted")
    assert response.json()["dispatcher"] == "not needed"


def test_database_that_does_not_answer_is_reported():
    def failing(*args: object) -> object:
        raise DatabaseError("no room left")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health.connection, "cursor", failing)
        response = healthz(RequestFactory().get("/healthz"))
    assert response.status_code == 503
    assert b"no room left" in response.content
