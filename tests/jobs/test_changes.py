"""A page's version, and what has changed since; test_views.py asks for it as a page does."""

from datetime import timedelta

from django.utils import timezone

from jobs.attempts import Attempt
from jobs.backends import EmbeddedQueue
from jobs.changes import (
    LATE_SECONDS,
    attempts_known,
    cards_of,
    changed_since,
    is_same,
    version_of,
)
from jobs.models import Job
from jobs.pages import Card
from tests.recipes.queue import HandQueue


def card(**fields) -> Card:
    return Card(Job(**({"id": "1" * 32, "status": "running"} | fields)))


def test_pages_that_show_the_same_have_the_same_version_at_any_time():
    before = version_of([card(steps_done=4)], is_stuck=False)
    later = f"{int(before.partition('-')[0]) + 5000}-{before.partition('-')[2]}"
    assert is_same(before, later)


def test_version_changes_with_a_step_a_state_a_job_and_the_queue():
    same = version_of([card(steps_done=4)], is_stuck=False)
    for other in (
        version_of([card(steps_done=5)], is_stuck=False),
        version_of([card(steps_done=4, status="succeeded")], is_stuck=False),
        version_of([card(steps_done=4), card(id="2" * 32)], is_stuck=False),
        version_of([card(steps_done=4)], is_stuck=True),
    ):
        assert not is_same(same, other)


def test_version_changes_when_the_queue_has_settled_an_attempt():
    job, at = Job(status="succeeded"), timezone.now()
    logs = [[Attempt(1, at)], [Attempt(1, at, 200, "", 0.1)]]
    first, second = (version_of([Card(job, log)], is_stuck=False) for log in logs)
    assert not is_same(first, second)


async def test_queue_is_asked_only_of_a_job_that_has_ended_or_is_quiet(monkeypatch):
    asked: list[str] = []

    async def attempts(self: EmbeddedQueue, job: Job) -> list[Attempt]:
        asked.append(job.status)
        return [Attempt(1, timezone.now(), 200, "", 0.1)]

    monkeypatch.setattr(EmbeddedQueue, "attempts", attempts)
    old = timezone.now() - timedelta(minutes=1)
    for status in ("running", "waiting", "succeeded"):
        await attempts_known(Job(status=status))
    await attempts_known(Job(status="queued", created_at=old))
    assert asked == ["succeeded", "queued"]
    assert await attempts_known(Job(status="succeeded"), drawn=False) == []
    assert await attempts_known(None) == []


async def test_newest_job_alone_has_the_queues_attempts(transactional_db, async_client):
    for _ in range(2):
        await async_client.post("/jobs/start")
    await HandQueue().run()
    await Job.objects.aupdate(status="succeeded")
    cards = await cards_of(Job.objects.order_by("-created_at"))
    assert [len(card.attempts) for card in cards] == [1, 0]


def test_job_that_has_not_changed_for_a_while_is_left_out():
    old = card(changed_at=timezone.now() - timedelta(seconds=LATE_SECONDS + 1))
    new = card(changed_at=timezone.now())
    assert changed_since(version_of([], is_stuck=False), [old, new]) == [new]


def test_queued_job_is_always_told_as_only_its_queue_knows_how_it_is():
    queued = card(status="queued", changed_at=timezone.now() - timedelta(hours=1))
    assert changed_since(version_of([], is_stuck=False), [queued]) == [queued]


def test_page_without_a_version_is_told_everything():
    old = card(changed_at=timezone.now() - timedelta(hours=1))
    assert changed_since("", [old]) == [old]
