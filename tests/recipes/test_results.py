"""What the examples' pages have in common: who is told that nothing can arrive, and why."""

import pytest
from django.db import OperationalError
from django.test import RequestFactory

from jobs.backends import EmbeddedQueue
from jobs.exceptions import PublishError
from jobs.models import Job
from recipes.results import unreachable

CLOUD = "https://qstash.upstash.io"


@pytest.mark.parametrize(
    ("site", "queue", "token", "told"),
    [
        ("http://localhost:8000", CLOUD, "token", "http://localhost:8000"),
        ("http://127.0.0.1:8000", CLOUD, "token", "http://127.0.0.1:8000"),
        ("https://jobs.example.com", CLOUD, "token", ""),
        ("http://localhost:8000", "http://127.0.0.1:8080", "token", ""),
        ("http://localhost:8000", CLOUD, "", ""),
    ],
)
def test_site_that_hosted_qstash_cannot_reach_is_named(settings, site, queue, token, told):
    settings.PUBLIC_URL, settings.QSTASH_URL, settings.QSTASH_TOKEN = site, queue, token
    assert unreachable(RequestFactory().get("/delay")) == told


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PublishError("the queue is full"), "the queue is full"),
        (OperationalError("server closed"), "The database is not answering: it cannot be reached."),
    ],
)
async def test_page_says_why_nothing_was_started(
    async_client, transactional_db, monkeypatch, error, words
):
    async def refuse(self, job, task):
        raise error

    monkeypatch.setattr(EmbeddedQueue, "apublish", refuse)
    answer = await async_client.post("/delay/start", headers={"Accept": "text/html"})
    assert answer.status_code == 503
    assert words in answer.text
    assert not await Job.objects.aexists()


async def test_page_has_the_newest_twenty_of_its_own_jobs(async_client, transactional_db):
    for _ in range(21):
        await async_client.post("/delay/start")
    await async_client.post("/jobs/start")
    newest = [job.id async for job in Job.objects.filter(task="recipes.delays.remind")]
    page = (await async_client.get("/delay")).text
    assert page.count('class="job"') == 20
    assert sum(f'id="job-{job_id}"' in page for job_id in newest) == 20
