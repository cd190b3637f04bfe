"""What every page says of the queue in its head."""

import pytest
from django.db import DatabaseError
from django.test import RequestFactory

from broker.clock import now_ms
from broker.models import Message, Pulse
from console import queue_status
from console.queue_status import Memo, QueueStatus, context_processor
from jobs.backends import EmbeddedQueue


@pytest.fixture(autouse=True)
def memo(monkeypatch) -> Memo:
    """A process that has not asked its queue yet."""
    memo = Memo()
    monkeypatch.setattr(queue_status, "memo", memo)
    return memo


@pytest.fixture
def hosted(settings) -> None:
    """The site as it is once QSTASH_TOKEN is set."""
    settings.TASKS = {"default": {"BACKEND": "jobs.backends.HostedQueue"}}
    settings.QSTASH_TOKEN = "token-of-the-cloud"


def status() -> QueueStatus:
    return context_processor(RequestFactory().get("/"))["queue"]


def test_queue_with_a_dispatcher_is_running(db):
    Pulse.objects.create(dispatcher="one", seen_at=now_ms())
    assert status() == ("embedded", True)


def test_queue_on_which_no_dispatcher_has_run_is_not_said_to_run(db):
    assert status() == ("embedded", None)


def test_queue_whose_dispatcher_has_stopped_is_not_running(db):
    Pulse.objects.create(dispatcher="one", seen_at=now_ms() - 11_000)
    assert status() == ("embedded", False)


def test_queue_whose_messages_wait_in_vain_is_not_running(db):
    then = now_ms() - 11_000
    Message.objects.create(message_id="msg_1", not_before=then, due_at=then)
    assert status() == ("embedded", False)


def test_site_cannot_say_whether_hosted_qstash_lives(hosted):
    assert status() == ("hosted QStash", None)


def test_queue_is_asked_once_in_two_seconds(db):
    assert status().alive is None
    Pulse.objects.create(dispatcher="one", seen_at=now_ms())
    assert status().alive is None


def test_database_that_does_not_answer_leaves_the_page_without_an_answer(monkeypatch):
    def failing(self) -> None:
        raise DatabaseError("no room left")

    monkeypatch.setattr(EmbeddedQueue, "is_alive", failing)
    assert status() == ("embedded", None)


async def test_page_on_the_event_loop_makes_no_query_for_it(memo):
    memo.alive = True
    assert status() == ("embedded", True)


@pytest.mark.parametrize(
    ("alive", "word"), [(True, ", running<"), (False, ", not running<"), (None, ", not known<")]
)
def test_page_says_whether_the_queue_lives(client, db, memo, alive, word):
    memo.alive, memo.asked_at = alive, float("inf")
    page = client.get("/").text
    assert "embedded" in page
    assert word in page


def test_page_of_a_site_with_hosted_qstash_only_names_it(client, db, hosted):
    page = client.get("/").text
    assert "hosted QStash" in page
    assert "not known" not in page


def test_error_page_needs_no_database(client):
    page = client.get("/nothing/here")
    assert page.status_code == 404
    assert "queue-status" not in page.text
