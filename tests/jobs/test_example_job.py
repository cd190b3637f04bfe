"""The example that the strip shows before there is a job."""

import pytest

from jobs.example_job import Example, example_job, example_texts
from jobs.models import Job
from jobs.views import start_job
from recipes import callbacks, emails, mailing, schedule_pages, schedules


def test_example_has_the_values_that_a_real_job_would_have(settings):
    job = example_job()
    assert job.message_id == "msg_example"
    assert job.received["claims"]["sub"] == f"{settings.PUBLIC_URL}/api/long-task"
    assert [step["number"] for step in job.log] == [1, 2, 3]


def test_example_is_not_saved(db):
    example_job()
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("example", "begins", "calls", "does"),
    [
        (
            Example(view=start_job),
            "posts the form to /jobs/start",
            "calls /api/long-task, signed",
            "does 10 steps, and notes each",
        ),
        (
            Example(emails.send_email, mailing.start_email_job),
            "posts the form to /api/start-email-job",
            "calls /api/send-email, signed",
            "notes each step it does",
        ),
        (
            Example(schedules.tick, schedule_pages.start_schedule, "schedule"),
            "is due",
            "calls /api/tick, signed",
            "does one step, and notes it",
        ),
        (
            Example(callbacks.take_answer, callbacks.receive_callback, "callback"),
            "reports the answer",
            "calls /api/callback, signed",
            "does one step, and notes it",
        ),
    ],
    ids=["home", "email", "schedule", "callback"],
)
def test_example_is_made_of_the_pages_own_task_and_view(example, begins, calls, does):
    told = example_texts(example)
    assert (told[0], told[2], told[3]) == (begins, calls, does)
    assert example_job(example).received["claims"]["sub"].endswith(calls.split()[1][:-1])


def test_example_has_an_argument_for_each_that_the_task_must_have():
    assert example_job().args[0].endswith("/catcher/your-bin/")
    assert example_job(Example(emails.send_email, mailing.start_email_job)).args == ["<users>"]
