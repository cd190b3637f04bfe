"""The strip: what each box says at every point of a job's way, and what a page swaps."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.utils import timezone

from jobs.attempts import Attempt
from jobs.interface import new_job
from jobs.models import Job
from jobs.pages import Card
from jobs.strip import Strip, steps_fragment, strip_fragment
from jobs.tasks import long_task

NOW = timezone.now()
FAILED = {"attempt": 1, "at": NOW.timestamp() + 2, "text": "step 4: HTTP 500", "exception": "E"}


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def job_that(**fields: Any) -> Job:
    """A job that was published half a second after it was saved."""
    job = new_job(long_task, ["http://target.test/"], {})
    job.created_at = NOW
    own = {"status": "queued", "messages": [{"id": "msg_1", "at": after(0.5).timestamp()}]}
    for name, value in (own | fields).items():
        setattr(job, name, value)
    return job


BEGUN = {"started_at": after(1.5), "last_attempted_at": after(1.5), "attempts": 1}
RUNNING = BEGUN | {"status": "running", "steps_done": 3}
WAITING = RUNNING | {
    "status": "waiting",
    "error": "step 4: HTTP 500",
    "errors": [FAILED],
    "next_attempt_at": after(60),
}
SUCCEEDED = RUNNING | {
    "status": "succeeded",
    "steps_done": 10,
    "finished_at": after(7),
    "worked_seconds": 5.5,
}


def states(job: Job | None, *attempts: Attempt) -> list[str]:
    return [box.told.state for box in Strip(job, attempts).boxes]


def told(job: Job | None, *attempts: Attempt) -> dict[str, Any]:
    return {box.key: box.told for box in Strip(job, attempts).boxes}


def test_before_the_first_job_four_grey_boxes_explain_the_way():
    strip = Strip(None)
    assert [box.name for box in strip.boxes] == ["Browser", "Queue", "Signed POST", "Your task"]
    assert states(None) == ["", "", "", ""]
    assert all(box.told.text and box.details.facts and box.details.excerpts for box in strip.boxes)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": "not_sent", "messages": []}, ["running", "", "", ""]),
        ({"status": "not_sent", "messages": [], "error": "no"}, ["not_sent", "", "", ""]),
        ({}, ["succeeded", "queued", "", ""]),
        ({"run_after": after(24 * 3600)}, ["succeeded", "scheduled", "", ""]),
        ({"status": "cancelled"}, ["succeeded", "cancelled", "", ""]),
        (RUNNING, ["succeeded", "succeeded", "running", "running"]),
        (WAITING, ["succeeded", "waiting", "failed", "waiting"]),
        (SUCCEEDED, ["succeeded", "succeeded", "succeeded", "succeeded"]),
        (WAITING | {"status": "failed"}, ["succeeded", "failed", "failed", "failed"]),
    ],
    ids=["unsent", "refused", "queued", "later", "cancelled", "runs", "waits", "done", "failed"],
)
def test_each_box_gains_its_state_only_when_the_jobs_row_says_so(fields, expected):
    assert states(job_that(**fields)) == expected


def test_boxes_say_what_was_measured():
    boxes = told(job_that(**SUCCEEDED))
    assert boxes["browser"].took == "500 ms"
    assert boxes["queue"].took == "1.00 s"
    assert boxes["task"].took == "5.50 s"


def test_queues_log_measures_the_request():
    boxes = told(job_that(**SUCCEEDED), Attempt(1, after(0.9), 200, "", 6.25))
    assert (boxes["post"].word, boxes["post"].took) == ("HTTP 200", "6.25 s")
    assert boxes["queue"].took == "1.00 s"


def test_waited_is_the_same_before_and_after_the_end_and_in_the_row():
    attempt = Attempt(1, after(1.4))
    runs, done = job_that(**RUNNING), job_that(**SUCCEEDED)
    settled = attempt._replace(status=200, seconds=5.6)
    figures = [told(runs)["queue"], told(runs, attempt)["queue"]]
    figures += [told(done)["queue"], told(done, attempt)["queue"], told(done, settled)["queue"]]
    assert {queue.took for queue in figures} == {"1.00 s"}
    assert Card(done).times == "waited 1.00 s, worked 5.50 s"


def test_time_before_the_job_was_due_is_not_waited():
    assert told(job_that(**RUNNING | {"run_after": after(1)}))["queue"].took == "500 ms"


def test_success_is_an_answer_with_its_time_before_the_queue_has_settled():
    for attempts in ([], [Attempt(1, after(1.5))]):
        post = told(job_that(**SUCCEEDED), *attempts)["post"]
        assert (post.state, post.word, post.took) == ("succeeded", "HTTP 200", "5.50 s")


def test_endpoint_asks_for_another_attempt_only_while_the_job_waits():
    assert told(job_that(**WAITING))["post"].text == "answered “try again later”"
    failed = WAITING | {"status": "failed"}
    assert told(job_that(**failed))["post"].text == ""
    never = Attempt(1, after(1.5), 489, "HTTP 489", 0.02)
    assert told(job_that(**failed), never)["post"].word == "HTTP 489"


def test_request_that_the_queue_hung_up_on_was_not_answered():
    errors = [FAILED | {"exception": "jobs.exceptions.CutOff"}]
    assert told(job_that(**WAITING | {"errors": errors}))["post"].text == "not answered in time"


def test_job_that_is_run_again_is_told_of_its_new_message_alone():
    again = {"attempts": 3, "last_attempted_at": after(-9), "started_at": after(-9)}
    assert told(job_that(**again))["post"].word == ""


def test_delivery_that_came_another_way_is_shown_in_its_own_colour():
    log = [Attempt(n, after(-30 + n), 503, "HTTP 503", 0.1) for n in (1, 2, 3)]
    post = told(job_that(**SUCCEEDED), *log)["post"]
    assert (post.state, post.word, post.text) == ("succeeded", "HTTP 200", "attempt 4:")


def test_what_took_no_time_has_none():
    at_once = SUCCEEDED | {"last_attempted_at": after(7), "steps_done": 1, "steps_total": 1}
    job = job_that(**at_once | {"messages": [{"id": "msg_1", "at": NOW.timestamp()}]})
    boxes = told(job)
    assert (boxes["browser"].word, boxes["browser"].text) == ("published", "")
    assert (boxes["task"].text, boxes["task"].took) == ("1 of 1 step", "")


@pytest.mark.parametrize(
    ("received", "name", "text"),
    [
        ({"headers": {"Upstash-Schedule-Id": "scd_1"}}, "Schedule", "is due"),
        ({"claims": {"sub": "http://testserver/api/callback"}}, "Queue", "reports the answer"),
    ],
)
def test_first_box_is_the_queue_itself_where_no_form_was_posted(received, name, text):
    box = Strip(job_that(**RUNNING, received=received)).boxes[0]
    assert (box.name, box.told.text) == (name, text)
    assert "Published by" in dict(box.details.facts)


def test_retry_walks_back_to_the_queue_with_a_countdown_and_the_reason():
    in_an_hour = timezone.now() + timedelta(hours=1)
    queue = told(job_that(**WAITING | {"next_attempt_at": in_an_hour}))["queue"]
    assert (queue.word, queue.text) == ("attempt 2 of 4", "step 4: HTTP 500")
    assert queue.until == in_an_hour
    assert 0 < queue.seconds_left <= 3600


def test_last_attempt_that_failed_means_that_the_queue_gives_up():
    queue = told(job_that(**WAITING | {"attempts": 4}))["queue"]
    assert (queue.word, queue.text, queue.until) == ("giving up", "attempt 4 of 4 failed", None)


def test_request_that_was_refused_is_known_from_the_queues_log_alone():
    boxes = told(job_that(), Attempt(1, after(1), 403, "HTTP 403", 0.02, after(60)))
    assert (boxes["post"].state, boxes["post"].word) == ("failed", "HTTP 403")
    assert (boxes["queue"].state, boxes["queue"].text) == ("waiting", "HTTP 403")
    assert boxes["task"].state == ""


def test_request_that_nobody_answers_says_why():
    post = told(job_that(), Attempt(1, after(1), None, "connection refused", 0.02))["post"]
    assert (post.word, post.text) == ("no answer", "connection refused")
    hung_up = Attempt(2, after(1), None, "no answer within 2 s", 2.0)
    assert told(job_that(), hung_up)["post"].text == "attempt 2:"


def test_attempts_at_an_older_message_are_not_shown_of_a_newer_one():
    messages = [{"id": f"msg_{n}", "at": after(60 * n).timestamp()} for n in (0, 1)]
    old = Attempt(4, after(30), 503, "HTTP 503", 0.1)
    assert states(job_that(messages=messages), old) == ["succeeded", "queued", "", ""]


def test_message_that_the_job_has_heard_of_only_on_arrival_has_no_waiting_time():
    messages = [{"id": "msg_1", "at": 1.0}, {"id": "msg_2", "at": after(1.5).timestamp()}]
    queue = told(job_that(**RUNNING | {"messages": messages}))["queue"]
    assert (queue.state, queue.word, queue.took) == ("succeeded", "delivered", "")


def parts_of(fragment: str) -> dict[str, str]:
    """The versions of the parts, by id."""
    tags = re.findall(r'<(?:span|div|p) id="(way-\w+-?\w*)"[^>]*?data-version="([\w-]*)"', fragment)
    return dict(tags)


def test_fragment_is_parts_that_are_swapped_one_by_one():
    fragment = strip_fragment(job_that(**RUNNING))
    parts = parts_of(fragment)
    assert {
        "way-browser-name",
        "way-queue-head",
        "way-post-facts",
        "way-task-code",
        "way-back",
    } <= set(parts)
    assert fragment.count('hx-swap-oob="true"') == len(parts) + 1  # the list of steps
    assert "<details" not in fragment


def test_only_parts_that_have_changed_have_another_version():
    job = job_that(**RUNNING)
    before = parts_of(strip_fragment(job))
    assert parts_of(strip_fragment(job)) == before
    job.steps_done += 1
    after_step = parts_of(strip_fragment(job))
    changed = {name for name in before if before[name] != after_step[name]}
    assert changed == {"way-task-head"}


def test_code_may_be_left_out_for_a_page_that_has_it():
    fragment = strip_fragment(job_that(**RUNNING), code=False)
    assert "way-task-facts" in fragment
    assert "way-task-code" not in fragment


def test_step_changes_the_tasks_head_and_adds_itself():
    log = [{"number": number, "at": 1.0, "text": "<done>"} for number in range(1, 5)]
    fragment = steps_fragment(job_that(**RUNNING | {"log": log, "steps_done": 4}), shown=2)
    assert set(parts_of(fragment)) == {"way-task-head"}
    assert re.findall(r'id="way-step-(\d)"', fragment) == ["3", "4"]
    assert 'hx-swap-oob="beforeend:#way-steps"' in fragment
    assert "<done>" not in fragment


def test_countdown_alone_is_no_change():
    first, later = (job_that(**WAITING) for _ in range(2))
    first.id = later.id
    assert Strip(first).boxes[1].head_version == Strip(later).boxes[1].head_version


def test_page_and_fragment_have_the_same_ids():
    job = job_that(**RUNNING)
    page = render_to_string("jobs/strip.html", {"strip": Strip(job)})
    assert parts_of(page) == parts_of(strip_fragment(job))


def test_second_strip_of_a_page_has_ids_of_its_own():
    names = [set(re.findall(' id="([^"]+)"', page(name))) for name in ("way", "callback")]
    assert not names[0] & names[1]


def page(name: str) -> str:
    return render_to_string("jobs/strip.html", {"strip": Strip(job_that(**RUNNING), name=name)})


def test_hostile_texts_are_escaped():
    text = "<script>alert(1)</script>\"'><img src=x>"
    log = [{"number": 1, "at": 1.0, "text": text}]
    hostile = WAITING | {"error": text, "errors": [FAILED | {"text": text}], "log": log}
    job = job_that(**hostile)
    job.args, job.received = [text], {"headers": {text: text}, "claims": {text: text, "sub": text}}
    job.messages[0]["id"] = text
    for html in (strip_fragment(job), render_to_string("jobs/strip.html", {"strip": Strip(job)})):
        assert "<script" not in html
        assert "<img" not in html
