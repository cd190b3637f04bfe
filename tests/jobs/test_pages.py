"""What a page says of a job, in words."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from jobs.attempts import Attempt
from jobs.models import Job
from jobs.pages import Card, as_json, duration, message_link

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
SOON = timezone.now() + timedelta(hours=1)


def job(**fields) -> Job:
    return Job(**({"task": "jobs.tasks.long_task", "options": {"retries": 3}} | fields))


def after(seconds: float) -> datetime:
    return MOMENT + timedelta(seconds=seconds)


def told(card: Card) -> tuple[str, str, datetime | None, str]:
    return card.status, card.says, card.until, card.reason


def test_waiting_job_says_when_and_why():
    card = Card(job(status="waiting", attempts=1, next_attempt_at=SOON, error="HTTP 500"))
    assert told(card) == ("waiting", "for attempt 2 of 4", SOON, "HTTP 500")
    assert 0 < card.seconds_left <= 3600


def test_moment_that_has_passed_leaves_no_seconds():
    assert Card(job(status="waiting", attempts=1, next_attempt_at=MOMENT)).seconds_left == 0


def test_last_attempt_is_followed_by_none():
    card = Card(job(status="waiting", attempts=4, next_attempt_at=SOON, error="HTTP 500"))
    says = "for the queue to give up: attempt 4 of 4 failed"
    assert told(card) == ("waiting", says, None, "HTTP 500")


def test_attempt_that_never_arrived_is_told_from_the_log():
    attempt = Attempt(1, MOMENT, error="Connection refused", next_at=SOON)
    card = Card(job(status="queued"), [attempt])
    assert told(card) == ("waiting", "for attempt 2 of 4", SOON, "Connection refused")


def test_attempt_under_way_changes_nothing():
    assert Card(job(status="queued"), [Attempt(1, MOMENT)]).status == "queued"


def test_job_that_is_to_run_later_is_scheduled():
    assert told(Card(job(status="queued", run_after=SOON))) == ("scheduled", "", SOON, "")
    assert told(Card(job(status="queued", run_after=MOMENT))) == ("queued", "", None, "")


def test_waiting_and_working_are_told_apart():
    done = job(
        status="succeeded",
        created_at=MOMENT,
        started_at=after(10),
        finished_at=after(15.6),
        worked_seconds=5.5,
    )
    assert Card(done).times == "waited 10.10 s, worked 5.50 s"


def test_time_before_a_job_was_due_is_not_waited():
    scheduled = job(
        status="succeeded",
        created_at=MOMENT,
        run_after=after(60),
        started_at=after(61),
        finished_at=after(66),
        worked_seconds=5.0,
    )
    assert Card(scheduled).times == "waited 1.00 s, worked 5.00 s"


def test_time_before_a_job_was_published_again_is_not_waited():
    again = job(
        status="succeeded",
        created_at=MOMENT,
        messages=[{"id": "msg_2", "at": after(3600).timestamp()}],
        started_at=after(1),
        finished_at=after(3606),
        worked_seconds=5.0,
    )
    assert Card(again).times == "waited 1.00 s, worked 5.00 s"


def test_running_job_says_how_long_it_has_waited():
    fields = {"created_at": MOMENT, "started_at": after(2), "last_attempted_at": after(2)}
    assert Card(job(status="running", **fields)).times == "waited 2.00 s"


def test_job_that_has_not_begun_has_no_times():
    assert Card(job(status="queued")).times == ""


@pytest.mark.parametrize("status", ["failed", "not_sent", "cancelled"])
def test_failure_says_why(status):
    assert Card(job(status=status, error="no route")).reason == "no route"


def test_error_of_an_earlier_attempt_is_not_shown_while_the_next_one_runs():
    assert Card(job(status="running", error="HTTP 500")).reason == ""


def test_job_that_could_not_be_sent_again_says_how_often_it_was_tried():
    once, twice = ([{"at": 1.0, "text": "no route"}] * count for count in (1, 2))
    assert Card(job(status="not_sent", refusals=once)).says == ""
    assert Card(job(status="not_sent", refusals=twice)).says == "after 2 tries"


@pytest.mark.parametrize(
    ("status", "is_open"),
    [("queued", True), ("running", True), ("not_sent", False), ("failed", False)],
)
def test_something_can_still_happen_to_a_job_that_is_on_its_way(status, is_open):
    assert Card(job(status=status)).is_open is is_open


@pytest.mark.parametrize(
    ("status", "label"),
    [
        ("not_sent", "Send again"),
        ("failed", "Run again"),
        ("cancelled", "Run again"),
        ("queued", ""),
    ],
)
def test_button_says_what_it_does(status, label):
    assert Card(job(status=status)).publish_label == label


def test_stranger_gets_no_buttons():
    assert Card(job(status="failed"), mine=False).publish_label == ""
    assert Card(job(status="queued"), mine=False).can_cancel is False


def test_version_changes_with_attempt_status_message_and_refusal():
    versions = {
        Card(job(status="waiting", attempts=1)).version,
        Card(job(status="waiting", attempts=2)).version,
        Card(job(status="running", attempts=2)).version,
        Card(job(status="running", attempts=2, messages=[{"id": "msg_1", "at": 1.0}])).version,
        Card(job(status="not_sent")).version,
        Card(job(status="not_sent", refusals=[{"at": 1.0, "text": "no route"}])).version,
    }
    assert len(versions) == 6


def test_script_reads_the_return_value():
    assert as_json(job(return_value=5))["return_value"] == 5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, ""),
        (0, ""),
        (0.0004, ""),
        (0.015, "15 ms"),
        (0.9996, "1.00 s"),
        (1.2, "1.20 s"),
        (61, "61.00 s"),
    ],
)
def test_durations_are_told_in_fitting_units(seconds, text):
    assert duration(seconds) == text


def test_short_times_of_a_job_are_milliseconds_or_left_out():
    fields = {"created_at": MOMENT, "started_at": after(0.015), "last_attempted_at": after(0.015)}
    done = job(status="succeeded", finished_at=after(0.043), worked_seconds=0.028, **fields)
    assert Card(done).times == "waited 15 ms, worked 28 ms"
    at_once = job(status="succeeded", created_at=MOMENT, started_at=MOMENT, finished_at=MOMENT)
    assert Card(at_once).times == ""


def test_pauses_between_attempts_are_waited():
    fields = {"created_at": MOMENT, "started_at": after(1), "last_attempted_at": after(8)}
    failed = job(status="failed", finished_at=after(10), worked_seconds=4, attempts=2, **fields)
    assert Card(failed).times == "waited 6.00 s, worked 4.00 s"


def test_job_that_ran_again_after_its_queue_had_given_up_has_not_waited_meanwhile():
    fields = {"created_at": MOMENT, "started_at": after(1), "last_attempted_at": after(600)}
    errors = [{"attempt": 3, "at": after(9).timestamp(), "text": "no", "exception": "E"}]
    done = job(status="succeeded", finished_at=after(602), worked_seconds=2, attempts=1, **fields)
    done.errors = errors
    assert Card(done).times == "worked 2.00 s"


def test_message_is_a_link_where_the_queues_pages_are_shown(settings):
    settings.CONSOLE_OPEN, settings.CONSOLE_PASSWORD = False, ""
    assert message_link("msg_1<") == "msg_1<"
    settings.CONSOLE_PASSWORD = "sesame"
    assert message_link("msg_1<") == '<a href="/queue/messages/msg_1%3C">msg_1&lt;</a>'
