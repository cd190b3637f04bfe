"""A job's history: the timeline, where the time went, what was sent and answered."""

from datetime import UTC, datetime, timedelta

import pytest

from jobs.attempts import Attempt
from jobs.history import bars, meta, request_facts, response_facts, timeline
from jobs.models import Job

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def job(**fields) -> Job:
    given = {"task": "jobs.tasks.long_task", "options": {"retries": 3}, "created_at": MOMENT}
    return Job(**(given | fields))


def after(seconds: float) -> datetime:
    return MOMENT + timedelta(seconds=seconds)


def at(seconds: float) -> float:
    return after(seconds).timestamp()


def texts(job: Job, attempts: list[Attempt]) -> list[str]:
    return [entry.text for entry in timeline(job, attempts)]


def test_timeline_is_in_order():
    done = job(
        status="succeeded",
        messages=[{"id": "msg_1", "at": at(0.1)}],
        log=[{"number": 1, "at": at(2), "text": "HTTP 200"}],
        errors=[{"attempt": 1, "at": at(1.5), "text": "step 1: HTTP 500"}],
        finished_at=after(3),
    )
    entries = timeline(done, [Attempt(1, after(1), 503, "", 0.5)])
    assert [(entry.kind, entry.text) for entry in entries] == [
        ("message", "saved"),
        ("message", "published as msg_1"),
        ("attempt", "attempt 1: HTTP 503 after 0.50 s"),
        ("error", "step 1: HTTP 500"),
        ("step", "step 1: HTTP 200"),
        ("end", "succeeded"),
    ]


def test_message_is_told_when_it_was_published_and_not_when_the_job_was_saved():
    sent_later = job(messages=[{"id": "msg_1", "at": at(600)}])
    assert [(entry.at, entry.text) for entry in timeline(sent_later, [])] == [
        (MOMENT, "saved"),
        (after(600), "published as msg_1"),
    ]


def test_publishes_that_failed_stay_in_the_timeline():
    refusals = [{"at": at(1), "text": "no route"}, {"at": at(60), "text": "no token"}]
    sent = job(refusals=refusals, messages=[{"id": "msg_1", "at": at(90)}])
    assert texts(sent, []) == [
        "saved",
        "not published: no route",
        "not published: no token",
        "published as msg_1",
    ]


def test_attempt_has_ended_when_the_job_has_although_the_queue_has_not_settled():
    done = job(status="succeeded", finished_at=after(6))
    assert "attempt 1: succeeded after 5.00 s" in texts(done, [Attempt(1, after(1))])


def test_attempt_that_failed_has_ended_although_the_queue_has_not_settled():
    errors = [{"attempt": 1, "at": at(3), "text": "HTTP 500"}]
    waits = job(status="waiting", errors=errors)
    assert "attempt 1: ended after 2.00 s" in texts(waits, [Attempt(1, after(1))])


def test_attempt_of_a_running_job_is_under_way():
    errors = [{"attempt": 1, "at": at(3), "text": "HTTP 500"}]
    attempts = [Attempt(1, after(1), 503, "", 2.0), Attempt(2, after(4))]
    assert "attempt 2: under way" in texts(job(status="running", errors=errors), attempts)


def test_bars_show_waiting_attempts_and_pauses():
    done = job(status="succeeded", finished_at=after(10))
    drawn = bars(done, [Attempt(1, after(2), 503, "", 1.0), Attempt(2, after(5), 200, "", 5.0)])
    assert [(bar.state, bar.start, bar.width, bar.label) for bar in drawn] == [
        ("queued", 0, 20, "waited 2.00 s"),
        ("failed", 20, 10, "attempt 1: HTTP 503 after 1.00 s"),
        ("queued", 30, 20, "pause 2.00 s"),
        ("succeeded", 50, 50, "attempt 2: HTTP 200 after 5.00 s"),
    ]


def test_bar_has_the_colour_of_its_own_answer_and_not_of_the_job():
    done = job(status="succeeded", finished_at=after(10))
    drawn = bars(done, [Attempt(1, after(2), 503, "", 1.0)])
    assert [bar.state for bar in drawn] == ["queued", "failed"]
    drawn = bars(job(status="failed"), [Attempt(1, MOMENT, 200, "", 1.0)])
    assert [bar.state for bar in drawn] == ["succeeded"]


def test_every_bar_is_wide_enough_to_be_seen_and_none_leaves_the_track():
    done = job(status="failed", finished_at=after(10_000))
    attempts = [Attempt(n, after(2000 * n), 503, "", 0.001) for n in range(1, 6)]
    for bar in bars(done, attempts):
        assert bar.width >= 1
        assert 0 <= bar.start <= bar.start + bar.width <= 100.01


def test_job_that_waits_has_one_bar():
    assert [bar.label for bar in bars(job(status="queued"), [])] == ["waits"]


def test_bars_are_none_for_a_job_that_was_cancelled_at_once():
    assert bars(job(status="cancelled", finished_at=MOMENT), []) == []


def test_request_is_the_letter_that_the_queue_delivers():
    facts = dict(request_facts(job(id="0" * 32, args=["http://target.test/"], backend="default")))
    assert facts["POST"] == "http://testserver/api/long-task"
    assert facts["Upstash-Retries"] == "3"
    delays = "1000 * pow(2, retried) (waits 1 s, then 2 s, then 4 s)"
    assert facts["Upstash-Retry-Delay"] == delays
    assert '"args": ["http://target.test/"]' in str(facts["Body"])


@pytest.mark.parametrize("task", ["jobs.tasks.gone", "gone.tasks.gone"])
def test_request_of_a_task_that_is_gone_is_not_known(task):
    ((name, why),) = request_facts(job(task=task))
    assert name == "Not known"
    assert "There is no task" in str(why)


def test_response_is_the_last_answer_and_what_the_task_returned():
    done = job(status="succeeded", return_value={"a": 1})
    attempts = [Attempt(1, MOMENT, 503, "", 1.0), Attempt(2, MOMENT, 200, "", 1.0)]
    assert response_facts(done, attempts) == [
        ("Attempts", 2),
        ("Last answer", "HTTP 200"),
        ("Returned", '{"a": 1}'),
    ]


def test_answer_that_never_came_is_told_in_words():
    failed = [Attempt(1, MOMENT, None, "Connection refused", 0.1)]
    assert ("Last answer", "Connection refused") in response_facts(job(status="waiting"), failed)


def test_every_message_and_worker_is_named():
    messages = [{"id": "msg_1", "at": 1.0}, {"id": "msg_2", "at": 2.0}]
    facts = meta(job(messages=messages, workers=["web-1", "web-2"]))
    assert [value for name, value in facts if name == "Message"] == ["msg_1", "msg_2"]
    assert ("Workers", "web-1, web-2") in facts
