"""What a crash leaves between saving and publishing is found and published."""

from datetime import timedelta

import pytest
from django.utils import timezone

from jobs.interface import JobTask, new_job
from jobs.models import Job
from jobs.unsent import PUBLISHING, publish_unsent
from tests.jobs.conftest import DROP
from tests.jobs.documented_tasks import echo

pytestmark = pytest.mark.usefixtures("hosted", "transactional_db")


async def saved(age: timedelta = PUBLISHING * 2, task: JobTask = echo, **fields) -> Job:
    """A job as the process has left it that saved it and then died."""
    job = new_job(task, ["hello"], {}, created_at=timezone.now() - age, **fields)
    await job.asave()
    return job


async def fresh(job: Job) -> Job:
    return await Job.objects.aget(id=job.id)


async def test_job_that_a_crash_has_left_is_published(cloud):
    job = await saved()
    assert await publish_unsent() == 1
    (asked,) = cloud.asked
    assert asked["line"] == "POST /v2/publish/http://testserver/api/echo"
    assert ((await fresh(job)).status, (await fresh(job)).message_id) == ("queued", "msg_cloud")


async def test_it_is_published_as_the_crashed_process_would_have(cloud):
    job = await saved(task=echo.using(retries=7, timeout=9))
    await publish_unsent()
    headers = cloud.asked[0]["headers"]
    assert headers["Upstash-Deduplication-Id"] == f"job-{job.id}-0-0"
    assert (headers["Upstash-Retries"], headers["Upstash-Timeout"]) == ("7", "9s")


async def test_job_that_has_been_found_is_not_found_again(cloud):
    await saved()
    assert [await publish_unsent(), await publish_unsent()] == [1, 0]
    assert len(cloud.asked) == 1


async def test_young_job_is_left_to_its_publisher(cloud):
    job = await saved(age=PUBLISHING / 2)
    assert await publish_unsent() == 0
    assert await publish_unsent(published_within=PUBLISHING / 4) == 1
    assert (await fresh(job)).status == "queued"


@pytest.mark.parametrize(
    "fields",
    [
        {"error": "QStash does not accept the token."},
        {"status": "queued"},
        {"status": "running"},
        {"status": "failed"},
        {"status": "cancelled"},
    ],
)
async def test_job_that_is_known_to_be_elsewhere_is_left_alone(cloud, fields):
    await saved(**fields)
    assert await publish_unsent() == 0
    assert cloud.asked == []


async def test_job_that_cannot_be_published_gets_the_reason_and_is_not_tried_again(cloud):
    job = await saved()
    cloud.usual = DROP
    assert await publish_unsent() == 0
    assert (await fresh(job)).status == "not_sent"
    assert "cannot be reached" in (await fresh(job)).error
    cloud.reset()
    assert await publish_unsent() == 0
    assert cloud.asked == []


async def test_job_of_a_task_that_is_gone_holds_up_nobody(cloud):
    gone, other = await saved(), await saved(age=PUBLISHING * 3 / 2)
    await Job.objects.filter(id=gone.id).aupdate(task="jobs.tasks.gone")
    assert await publish_unsent() == 1
    assert "jobs.tasks.gone" in (await fresh(gone)).error
    assert (await fresh(other)).status == "queued"


async def test_site_without_an_address_gives_the_reason(cloud, settings):
    settings.PUBLIC_URL = ""
    job = await saved()
    assert await publish_unsent() == 0
    assert "Set PUBLIC_URL" in (await fresh(job)).error


async def test_oldest_job_is_published_first(cloud):
    jobs = [await saved(age=PUBLISHING * age) for age in (2, 4, 3)]
    assert await publish_unsent() == 3
    published = [asked["headers"]["Upstash-Deduplication-Id"] for asked in cloud.asked]
    assert published == [f"job-{jobs[n].id}-0-0" for n in (1, 2, 0)]


async def test_what_is_found_and_what_fails_is_logged(cloud, caplog):
    caplog.set_level("INFO", logger="jobs.unsent")
    await saved(age=PUBLISHING * 3)
    await saved()
    cloud.answer(200, {"messageId": "msg_first"})
    cloud.usual = (500, {}, "on fire")
    await publish_unsent()
    told = [record.message for record in caplog.records if record.name == "jobs.unsent"]
    assert told == ["found unsent, published", "not sent"]


async def test_embedded_queue_leaves_nothing_unsent(cloud, settings):
    settings.TASKS = {"default": {"BACKEND": "jobs.backends.EmbeddedQueue"}}
    await saved()
    assert await publish_unsent() == 0
    assert cloud.asked == []
