"""A page's version, and what has changed since; test_views.py asks for it as a page does."""

import re
from datetime import timedelta

import pytest
from django.test import RequestFactory
from django.utils import timezone

from jobs.attempts import Attempt
from jobs.backends import EmbeddedQueue
from jobs.changes import (
    RECENT,
    Page,
    attempts_known,
    cards_for,
    cards_of,
    changed_since,
    is_same,
    list_news,
    mark_of,
    read_changed_jobs,
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
    job, at = Job(id="1" * 32, status="succeeded"), timezone.now()
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


def test_job_that_looks_the_same_is_left_out():
    old, new = card(), card(id="2" * 32)
    assert changed_since(version_of([old], is_stuck=False), [new, old]) == [new]


def test_queued_job_is_told_when_its_queue_knows_more():
    queued = Card(Job(id="1" * 32, status="queued", options={"retries": 3}))
    failed = Attempt(1, timezone.now(), error="cannot connect", seconds=0.1)
    waiting = Card(queued.job, [failed])
    assert changed_since(version_of([queued], is_stuck=False), [waiting]) == [waiting]


def test_page_without_a_version_is_told_everything():
    assert len(changed_since("", [card(), card(id="2" * 32)])) == 2


@pytest.mark.parametrize(
    "version", ["", "0", "0-0-0", "-", "1" * 13, "1" * 13 + "-11-a.b.c", "x-ü"]
)
def test_version_that_is_not_ours_is_no_error(version):
    page = Page.of_version(version).with_cards([card(steps_done=4)])
    assert mark_of(card(steps_done=4)) in page.version
    assert Page.of_version(version).steps_shown(card()) is None


def test_page_reads_its_own_version():
    page = Page(stuck=True, settled=True).with_cards([card(steps_done=4), card(id="2" * 32)])
    again = Page.of_version(page.version)
    assert again._replace(at=None) == page
    assert timezone.now() - again.at < timedelta(seconds=60)


def test_page_has_new_jobs_at_its_top_and_at_most_twenty():
    page = Page().with_cards([card(id=f"{number:032}"[::-1]) for number in range(RECENT)])
    newer = page.with_cards([card(id="2" * 32), card(id="0" * 32, steps_done=1)])
    assert list(newer.marks)[:2] == ["22222222", "00000000"]
    assert newer.marks["00000000"].endswith(".1")
    assert len(newer.marks) == RECENT


def test_page_knows_if_a_job_has_only_done_more_steps():
    page = Page().with_cards([card(steps_done=4)])
    assert page.steps_shown(card(steps_done=5)) == 4
    assert page.steps_shown(card(steps_done=5, status="succeeded")) is None
    assert page.steps_shown(card(id="2" * 32)) is None


def told_by(html: str) -> set[str]:
    return set(re.findall(r' id="([a-z-]+)', html))


async def news(since: str, *cards: Card) -> str:
    return (await list_news(RequestFactory().get("/"), since, cards)).html


async def test_step_brings_the_count_and_itself_alone(db):
    log = [{"number": number, "at": 1.0, "text": "done"} for number in range(1, 6)]
    since = version_of([card(steps_done=4, steps_total=10)], is_stuck=False)
    html = await news(since, card(steps_done=5, steps_total=10, log=log, task="jobs.tasks.none"))
    assert "5 of 10 steps done" in html
    assert told_by(html) == {"amount-", "way-task-head", "way-step-"}
    assert "way-step-5" in html
    assert "way-step-4" not in html
    assert 'id="job-' not in html


def test_jobs_of_many_pages_are_read_by_one_query(db, django_assert_num_queries):
    """The reader wakes many pages at once."""
    jobs = [Job.objects.create(owner=owner, status="running") for owner in ("a", "b")]
    now = timezone.now()
    pages = [("a", now - timedelta(seconds=5)), ("b", now - timedelta(seconds=6)), ("c", now)]
    with django_assert_num_queries(1):
        found = read_changed_jobs({*pages})
    assert [found[page] for page in pages] == [[jobs[0]], [jobs[1]], []]


async def test_old_job_that_changes_is_not_put_on_a_page_that_has_newer_ones(job):
    await Job.objects.filter(id=job.id).aupdate(created_at=timezone.now() - timedelta(hours=1))
    await job.arefresh_from_db()
    assert await cards_for(job.owner, version_of([card()], is_stuck=False)) == []
    assert len(await cards_for(job.owner, version_of([Card(job)], is_stuck=False))) == 1


async def test_page_that_was_away_reads_its_newest_jobs(job):
    assert [card.job for card in await cards_for(job.owner, "")] == [job]
    assert [card.job for card in await cards_for(job.owner, "1600000000000-00")] == [job]
    assert await cards_for(job.owner, "", task="another") == []
