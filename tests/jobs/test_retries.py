"""When the queue tries a job again, as the job's row says it."""

import pytest

from jobs.models import Job
from jobs.retries import retry_delay


@pytest.mark.parametrize(
    ("expression", "seconds"),
    [("1000 * pow(2, retried)", [1, 2, 4, 8]), ("500", [0.5, 0.5, 0.5, 0.5])],
)
def test_pauses_are_those_of_the_message(expression, seconds):
    job = Job(options={"retry_delay": expression})
    assert [retry_delay(job, n).total_seconds() for n in range(4)] == seconds
