"""Who has published a job's message, as the request that brought it tells."""

import pytest

from jobs.publishers import publisher_of
from tests.jobs.test_strip import job_that

SITE = "http://testserver"


@pytest.mark.parametrize(
    ("received", "publisher"),
    [
        ({}, "form"),
        ({"claims": {"sub": f"{SITE}/api/long-task"}}, "form"),
        ({"headers": {"Upstash-Schedule-Id": "scd_1"}}, "schedule"),
        ({"claims": {"sub": f"{SITE}/api/callback"}}, "callback"),
    ],
    ids=["not yet", "own endpoint", "schedule", "another endpoint"],
)
def test_request_says_who_has_published(received, publisher):
    assert publisher_of(job_that(received=received)) == publisher


def test_job_of_a_task_that_is_gone_is_taken_for_a_forms():
    assert publisher_of(job_that(task="jobs.tasks.removed")) == "form"
