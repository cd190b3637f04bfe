"""The failure lab: each scenario, from the click to its end, with both queues."""

import asyncio
import re
import time
from html import unescape

import pytest
from django.utils import timezone

from harness.processes import Site
from harness.sink import Sink
from harness.visitor import Visitor
from jobs.interface import new_job
from jobs.models import Job
from recipes.lab import BROKEN_STEP, PATIENCE_SECONDS, SCENARIOS, lab_task

# How each scenario ends, and in which attempt.
ENDS = {
    "well": ("succeeded", 1),
    "target-fails-once": ("succeeded", 2),
    "target-fails": ("failed", 3),
    "target-hangs": ("failed", 3),
    "target-busy": ("succeeded", 2),
    "endpoint-fails-once": ("succeeded", 2),
    "endpoint-fails": ("failed", 3),
    "endpoint-hangs": ("failed", 3),
    "endpoint-refuses": ("failed", 1),
}


class Experimenter(Visitor):
    """A visitor who chooses a scenario."""

    def start(self, scenario: str) -> "Experimenter":
        fields = {"csrfmiddlewaretoken": self.token, "scenario": scenario}
        answer = self.http.post(f"{self.url}/lab/start", data=fields, timeout=60)
        self.job_id = answer.url.rpartition("/")[2]
        return self

    def try_on_job(self, trial: str, htmx: bool = True) -> str:
        """Press one of the buttons below a job; the answer's text."""
        url = f"{self.url}/lab/{self.job_id}/{trial}"
        headers = {"HX-Request": "true"} if htmx else {}
        fields = {"csrfmiddlewaretoken": self.token}
        answer = self.http.post(url, data=fields, headers=headers, timeout=60)
        return " ".join(unescape(re.sub("<[^>]+>", "", answer.text)).split())


def test_every_scenario_goes_its_way_and_every_dead_letter_has_a_way_back(either: Site):
    begun = time.monotonic()
    visitors = {name: Experimenter(either.url).start(name) for name in SCENARIOS}
    for name, visitor in visitors.items():
        status, attempts = ENDS[name]
        job = visitor.until(status, seconds=60)
        assert (name, job["attempts"]) == (name, attempts)
        assert job["steps_done"] == (3 if status == "succeeded" else BROKEN_STEP - 1)
    # Not a measurement of this machine; but nobody watches for minutes.
    assert time.monotonic() - begun < 60
    failed = [visitor for name, visitor in visitors.items() if ENDS[name][0] == "failed"]
    for visitor in failed:
        assert "on its way again" in visitor.try_on_job("retry")
    for visitor in failed:
        assert visitor.until("succeeded", seconds=60)["steps_done"] == 3


@pytest.fixture
def lab_job(transactional_db, sink):
    """A queued job of the lab whose target and whose trouble are both the sink."""

    async def lab_job(scenario: str, **fields: object) -> Job:
        job = new_job(lab_task, [sink.url, f"{sink.url}trouble", scenario], {})
        own = {"status": "queued", "messages": [{"id": "msg_1", "at": 1_700_000_000.0}]}
        for name, value in (own | fields).items():
            setattr(job, name, value)
        await job.asave()
        return job

    return lab_job


@pytest.fixture
def sink():
    with Sink() as running:
        running.answer = lambda request: 500 if "trouble" in request["path"] else 200
        yield running


async def run_once(deliver, job: Job) -> int:
    response = await deliver("/api/lab-task", {"job_id": job.id})
    await job.arefresh_from_db()
    return response.status_code


async def test_only_step_two_meets_the_trouble_and_no_step_is_repeated(deliver, lab_job, sink):
    job = await lab_job("target-fails-once")
    assert await run_once(deliver, job) == 503
    assert (job.status, job.error) == ("waiting", "step 2: HTTP 500")
    assert await run_once(deliver, job) == 200
    assert [request["path"] for request in sink.requests] == ["/", "/trouble", "/", "/"]
    assert sink.keys == [f"{job.id}-{number}" for number in (1, 2, 2, 3)]
    assert job.return_value == "done in attempt 2"


async def test_endpoint_that_answers_489_ends_the_job_at_once(deliver, lab_job):
    job = await lab_job("endpoint-refuses")
    assert await run_once(deliver, job) == 489
    assert job.status == "failed"


async def test_task_that_hangs_gives_its_job_back_although_nobody_ends_it(deliver, lab_job):
    job = await lab_job("endpoint-hangs")
    assert await run_once(deliver, job) == 503
    assert (job.status, job.error) == ("waiting", "step 2: the queue hung up")
    assert job.errors[0]["exception"] == "jobs.exceptions.CutOff"


def test_endpoint_that_hangs_is_waited_for_and_tried_again(either: Site):
    visitor = Experimenter(either.url).start("endpoint-hangs")
    assert visitor.until("waiting")["error"] == "step 2: the delivery was cut off"
    assert visitor.until("failed")["attempts"] == 3


async def test_bug_is_kept_with_its_traceback(deliver, lab_job):
    job = await lab_job("endpoint-fails")
    assert await run_once(deliver, job) == 503
    assert "break_endpoint" in job.errors[0]["traceback"]


async def test_busy_target_answers_429_with_retry_after(async_client):
    answer = await async_client.post("/lab/target/target-busy")
    assert (answer.status_code, answer["Retry-After"]) == (429, "3")


async def test_target_that_hangs_outlasts_the_tasks_patience(async_client):
    begun = asyncio.get_running_loop().time()
    answer = await async_client.post("/lab/target/target-hangs")
    assert asyncio.get_running_loop().time() - begun > PATIENCE_SECONDS
    assert answer.status_code == 500


def test_unknown_scenario_is_one_without_a_failure(client, transactional_db):
    client.post("/lab/start", {"scenario": "<script>"})
    job = Job.objects.get()
    assert (job.args[2], job.status, job.options["retries"]) == ("well", "queued", 2)
    assert job.created_at <= timezone.now()


def test_endpoint_that_hangs_is_hung_up_on_after_two_seconds(client, transactional_db):
    client.post("/lab/start", {"scenario": "endpoint-hangs"})
    assert Job.objects.get().options["timeout"] == PATIENCE_SECONDS


def test_form_offers_every_scenario(client, db):
    page = client.get("/").text
    assert re.findall(r'<option value="([\w-]+)"', page) == list(SCENARIOS)


def test_only_a_form_of_this_site_starts_a_failure(transactional_db):
    from django.test import Client

    assert Client(enforce_csrf_checks=True).post("/lab/start").status_code == 403
    assert not Job.objects.exists()
