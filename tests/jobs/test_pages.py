"""What a page says of a job, in words."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from jobs.attempts import Attempt
from jobs.models import Job
from jobs.pages import Card, as_json, timeline

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def job(**fields) -> Job:
    return Job(**({"task": "jobs.tasks.long_task", "options": {"retries": 3}} | fields))


def test_waiting_job_says_when_and_why():
    soon = timezone.now() + timedelta(seconds=2.5)
    card = Card(job(status="waiting", attempts=1, next_attempt_at=soon, error="HTTP 500"))
    assert card.explanation == " for attempt 2 of 4 in 3 s: HTTP 500"


def test_last_attempt_is_followed_by_none():
    card = Card(job(status="waiting", attempts=4, error="HTTP 500"))
    assert card.explanation == " for the queue to give up: attempt 4 of 4 failed, HTTP 500"


def test_attempt_that_never_arrived_is_told_from_the_log():
    attempt = Attempt(1, MOMENT, error="Cannot connect", next_at=MOMENT)
    card = Card(job(status="queued"), [attempt])
    assert (card.status, card.label) == ("waiting", "waiting")
    assert card.explanation == " for attempt 2 of 4 in 0 s: Cannot connect"


def test_attempt_under_way_changes_nothing():
    assert Card(job(status="queued"), [Attempt(1, MOMENT)]).status == "queued"


def test_success_says_how_long_it_took():
    card = Card(
        job(status="succeeded", started_at=MOMENT, finished_at=MOMENT + timedelta(seconds=5.04))
    )
    assert card.explanation == " in 5.0 s"


@pytest.mark.parametrize("status", ["failed", "not_sent", "cancelled"])
def test_failure_says_why(status):
    assert Card(job(status=status, error="no route")).explanation == ": no route"


def test_error_of_an_earlier_attempt_is_not_shown_while_the_next_one_runs():
    assert Card(job(status="running", error="HTTP 500")).explanation == ""


@pytest.mark.parametrize(
    ("status", "interval"),
    [
        ("queued", "500ms"),
        ("running", "500ms"),
        ("not_sent", "5s"),
        ("failed", ""),
        ("cancelled", ""),
    ],
)
def test_page_asks_until_the_job_has_ended(status, interval):
    assert Card(job(status=status)).polls == interval


@pytest.mark.parametrize(
    ("status", "label"),
    [
        ("not_sent", "Send again"),
        ("failed", "Try again"),
        ("cancelled", "Start again"),
        ("queued", ""),
    ],
)
def test_button_says_what_it_does(status, label):
    assert Card(job(status=status)).publish_label == label


def test_version_changes_with_attempt_status_and_message():
    versions = {
        Card(job(status="waiting", attempts=1)).version,
        Card(job(status="waiting", attempts=2)).version,
        Card(job(status="running", attempts=2)).version,
        Card(job(status="running", attempts=2, messages=[{"id": "msg_1", "at": 1.0}])).version,
    }
    assert len(versions) == 4


def test_timeline_is_in_order():
    at = MOMENT.timestamp()
    done = job(
        status="succeeded",
        messages=[{"id": "msg_1", "at": at}],
        log=[{"number": 1, "at": at + 2, "text": "HTTP 200"}],
        errors=[{"attempt": 1, "at": at + 1.5, "text": "step 1: HTTP 500"}],
        finished_at=MOMENT + timedelta(seconds=3),
    )
    attempts = [Attempt(1, MOMENT + timedelta(seconds=1), 503, "", 0.5)]
    entries = timeline(done, attempts)
    assert [entry.text for entry in entries] == [
        "published as msg_1",
        "attempt 1: HTTP 503 after 0.50 s",
        "step 1: HTTP 500",
        "step 1: HTTP 200",
        "succeeded",
    ]
    assert [entry.kind for entry in entries] == ["message", "attempt", "error", "step", "end"]


def test_job_that_was_not_sent_has_a_timeline_too():
    assert [entry.text for entry in timeline(job(), [])] == ["saved"]


def test_script_reads_the_return_value():
    assert as_json(job(return_value=5))["return_value"] == 5
