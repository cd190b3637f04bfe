"""What the boxes open to: the real form, message, request and call of a job, and our code."""

from typing import Any

from jobs import views
from jobs.attempts import Attempt
from jobs.example_job import example_job
from jobs.interface import new_job
from jobs.models import Job
from jobs.strip_details import details_of
from jobs.tasks import long_task
from tests.jobs.test_strip import BEGUN, NOW, job_that


def facts(key: str, job: Job, *attempts: Attempt) -> dict[str, Any]:
    return dict(details_of(key, job, attempts, None).facts)


def files(key: str, job: Job | None = None) -> list[str]:
    return [excerpt.file for excerpt in details_of(key, job or example_job(), [], None).excerpts]


def test_browser_box_has_the_form_and_its_answer():
    found = facts("browser", job_that())
    assert found["Form"] == "POST /jobs/start"
    assert found["csrfmiddlewaretoken"] == "masked"
    assert found["Answer"] == "Started job with ID msg_1"


def test_browser_box_has_the_reason_of_a_job_that_was_not_sent():
    job = job_that(status="not_sent", messages=[], error="QStash cannot be reached.")
    assert "QStash cannot be reached." in facts("browser", job)["Answer"]


def test_form_of_another_view_is_shown_with_its_own_code():
    details = details_of("browser", job_that(), [], views.cancel_job)
    assert details.excerpts[0].text.startswith("@require_POST\nasync def cancel_job")


def test_queue_box_has_the_message_with_its_headers(settings):
    details = details_of("queue", job_that(), [], None)
    found = dict(details.facts)
    assert found["To"] == f"{settings.PUBLIC_URL}/api/long-task"
    assert found["Upstash-Retries"] == "3"
    assert found["Upstash-Failure-Callback"] == f"{settings.PUBLIC_URL}/api/job-failed"
    assert '"http://target.test/"' in details.texts[0][1]


def test_queue_box_shows_the_code_of_the_queue_that_is_used(settings):
    assert files("queue", job_that()) == ["jobs/interface.py", "jobs/backends.py"]
    settings.TASKS = {"default": {"BACKEND": "jobs.backends.HostedQueue"}}
    assert files("queue", job_that()) == ["jobs/interface.py", "jobs/hosted.py"]


def test_queue_box_has_the_queues_log():
    attempt = Attempt(1, NOW, 503, "HTTP 503", 0.12)
    assert facts("queue", job_that(), attempt)["Attempt 1"] == "HTTP 503 after 0.12 s"


async def test_post_box_has_the_request_as_its_receiver_saw_it(deliver, job_at, settings):
    job = await job_at(steps_done=10)
    assert (await deliver("/api/long-task", {"job_id": job.id}, retried=2)).status_code == 200
    await job.arefresh_from_db()
    found = facts("post", job)
    assert found["POST"] == f"{settings.PUBLIC_URL}/api/long-task"
    assert (found["Upstash-Message-Id"], found["Upstash-Retried"]) == ("msg_1", "2")
    assert found["Claim iss"] == "Upstash"
    assert "valid until" in found["Claim exp"]
    assert found["Verdict"] == "The signature fits: the current key, this URL, this body"
    assert "masked" in found["Upstash-Signature"]


def test_post_box_names_the_next_key():
    job = job_that(**BEGUN, received={"headers": {}, "claims": {"key": 1, "sub": "x"}})
    assert "the next key" in facts("post", job)["Verdict"]


def test_post_box_of_a_job_that_nothing_has_reached_says_so():
    assert facts("post", job_that()) == {"Request": "None has arrived yet."}
    refused = Attempt(1, NOW, 403, "HTTP 403", 0.01)
    assert "refused" in facts("post", job_that(), refused)["Verdict"]


def test_task_box_has_the_call_and_what_came_of_it():
    job = job_that(return_value={"sent": 3}, errors=[{"attempt": 1, "text": "HTTP 500"}])
    found = facts("task", job)
    assert found["Task"] == "jobs.tasks.long_task"
    assert found["Arguments"] == "'http://target.test/'"
    assert found["Returned"] == '{"sent": 3}'
    assert found["Attempt 1 raised"] == "HTTP 500"


def test_task_box_shows_the_tasks_own_code():
    (shown,) = details_of("task", job_that(), [], None).excerpts
    assert "async def long_task(context" in shown.text


def test_newest_hundred_steps_are_shown():
    log = [{"number": n, "at": 1.0, "text": "done"} for n in range(1, 251)]
    steps = details_of("task", job_that(log=log), [], None).steps
    assert [steps[0]["number"], steps[-1]["number"]] == [151, 250]


def test_job_whose_task_is_gone_can_still_be_looked_at():
    job = job_that(task="jobs.tasks.removed")
    assert details_of("task", job, [], None).excerpts == []
    assert "not there any more" in facts("queue", job)["Task"]


def test_long_arguments_are_cut():
    job = new_job(long_task, ["x" * 100_000], {})
    assert len(facts("task", job)["Arguments"]) < 1000
    assert len(details_of("queue", job, [], None).texts[0][1]) < 5000


def test_four_boxes_show_code_of_every_file_on_the_way():
    found = {file for key in ("browser", "queue", "post", "task") for file in files(key)}
    assert found == {
        "jobs/views.py",
        "jobs/interface.py",
        "jobs/backends.py",
        "jobs/signatures.py",
        "jobs/receiving.py",
        "jobs/tasks.py",
    }
