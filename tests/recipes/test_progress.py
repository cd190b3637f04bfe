"""What an example's page shows of its job."""

import pytest
from asgiref.sync import sync_to_async
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.test import RequestFactory
from django.utils import timezone

from jobs.attempts import Attempt
from jobs.example_job import EXAMPLE
from jobs.exceptions import NoRoute, PublishError
from jobs.models import Job
from jobs.pages import Card
from jobs.tasks import long_task
from jobs.views import visitor_of
from recipes.progress import card_of, progress, published, shown_job, version_of


@pytest.fixture
def request_for():
    session = SessionStore()

    def request_for(path: str = "/"):
        request = RequestFactory().get(path)
        request.session = session
        return request

    return request_for


async def failing(error: Exception):
    raise error


async def test_queue_that_refuses_leaves_the_job_and_the_reason(job):
    error = NoRoute("cannot be reached")
    error.job = job
    assert await published(failing(error)) == (job, "cannot be reached")
    assert await published(failing(PublishError("no"))) == (None, "no")


async def test_newest_job_of_the_visitor_and_the_task_is_shown(request_for, queued_job):
    request = request_for()
    owner = await sync_to_async(visitor_of)(request)
    old = await queued_job(long_task, owner=owner)
    await queued_job(long_task, owner="somebody else")
    await queued_job(long_task, owner=owner, task="another.task")

    async def look(request) -> Job:
        return (await shown_job(request, long_task)).job

    assert await look(request) == old
    new = await queued_job(long_task, owner=owner)
    assert await look(request) == new
    assert await look(request_for(f"/?job={old.id}")) == old


async def test_job_that_is_named_is_shown_to_whoever_knows_its_id(request_for, queued_job):
    job = await queued_job(long_task, owner="somebody else")
    request = request_for(f"/?job={job.id}")
    card = await shown_job(request, long_task)
    assert card.job == job
    context = progress(request, card, EXAMPLE, "email_changes")
    assert context["live"]["url"] == f"/email/{job.id}/changes"
    assert not context["card"].can_cancel


async def test_page_of_a_job_that_has_ended_is_not_reloaded(request_for, queued_job):
    job = await queued_job(long_task, status="succeeded")
    request = request_for()
    context = progress(request, await card_of(request, job), EXAMPLE, "email_changes")
    assert (context["refresh"], context["card"].is_open) == (0, False)


def test_page_without_a_job_has_nothing_to_show(request_for):
    assert not progress(request_for(), None, EXAMPLE, "").keys() & {
        "card",
        "live",
        "refresh",
    }


async def test_version_changes_with_every_step_and_state(queued_job):
    job = await queued_job(long_task)
    versions = [version_of(Card(job))]
    for name, value in {"status": "running", "steps_done": 1, "attempts": 2}.items():
        setattr(job, name, value)
        versions.append(version_of(Card(job)))
    assert len(set(versions)) == 4


def test_version_changes_when_the_queue_has_settled_the_attempt():
    done, at = Job(status="succeeded"), timezone.now()
    attempts = [Attempt(1, at), Attempt(1, at, 200, "", 0.1)]
    assert len({version_of(Card(done, [attempt])) for attempt in attempts}) == 2
