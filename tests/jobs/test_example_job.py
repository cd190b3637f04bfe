"""The example that the strip shows before there is a job."""

from jobs.example_job import example_job
from jobs.models import Job


def test_example_has_the_values_that_a_real_job_would_have(settings):
    job = example_job()
    assert job.message_id == "msg_example"
    assert job.received["claims"]["sub"] == f"{settings.PUBLIC_URL}/api/long-task"
    assert [step["number"] for step in job.log] == [1, 2, 3]


def test_example_is_not_saved(db):
    example_job()
    assert not Job.objects.exists()
