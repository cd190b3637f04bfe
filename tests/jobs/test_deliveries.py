"""What the job's row adds to the queue's log: an answer not settled yet, a way of its own."""

from typing import Any

from jobs.attempts import Attempt
from jobs.deliveries import deliveries
from jobs.interface import new_job
from jobs.models import Job
from jobs.tasks import long_task
from tests.jobs.test_strip import RUNNING, SUCCEEDED, after, job_that

SETTLED = Attempt(1, after(1.4), 200, "", 5.7)
FAILED = [Attempt(n, after(-30 + n), 503, "HTTP 503", 0.1) for n in (1, 2, 3)]


def outcomes(job: Job, *attempts: Attempt) -> list[tuple[int, Any]]:
    return [(each.number, each.status) for each in deliveries(job, attempts)]


def test_log_that_knows_more_is_left_as_it_is():
    assert deliveries(job_that(**SUCCEEDED), [SETTLED]) == [SETTLED]
    assert deliveries(job_that(), FAILED) == FAILED


def test_success_is_known_before_the_queue_has_settled():
    (attempt,) = deliveries(job_that(**SUCCEEDED), [Attempt(1, after(1.4))])
    assert (attempt.number, attempt.status, attempt.seconds) == (1, 200, 5.5)


def test_success_is_known_although_the_queue_does_not_answer():
    assert outcomes(job_that(**SUCCEEDED)) == [(1, 200)]


def test_attempt_that_runs_or_has_not_come_is_not_answered():
    assert outcomes(job_that(**RUNNING), Attempt(1, after(1.4))) == [(1, None)]
    assert deliveries(job_that(**RUNNING), []) == []
    assert deliveries(new_job(long_task, [""], {}), []) == []


def test_delivery_that_came_another_way_is_one_more():
    log = [(1, 503), (2, 503), (3, 503)]
    assert outcomes(job_that(**SUCCEEDED), *FAILED) == [*log, (4, 200)]
    assert outcomes(job_that(**RUNNING), *FAILED) == [*log, (4, None)]
    assert outcomes(job_that(**SUCCEEDED | {"status": "failed"}), *FAILED) == [*log, (4, 489)]


def test_delivery_that_came_another_way_and_failed_says_why():
    errors = [{"attempt": 1, "at": after(3).timestamp(), "text": "no", "exception": "E"}]
    waits = RUNNING | {"status": "waiting", "error": "no", "errors": errors}
    last = deliveries(job_that(**waits), FAILED)[-1]
    assert (last.number, last.status, last.error, last.seconds) == (4, 503, "no", 1.5)
