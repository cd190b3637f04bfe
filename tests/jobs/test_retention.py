"""Ended jobs go for their age, and when a visitor has too many."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from jobs import retention
from jobs.models import Job
from jobs.retention import Bounds, sweep

ENDED = ["succeeded", "failed", "cancelled"]
UNENDED = ["queued", "running", "waiting"]


def now_ms() -> int:
    return int(timezone.now().timestamp() * 1000)


@pytest.fixture(autouse=True)
def bounds(monkeypatch) -> Bounds:
    """Bounds that have seen nothing."""
    bounds = Bounds()
    monkeypatch.setattr(retention, "bounds", bounds)
    return bounds


@pytest.fixture
def store(db):
    """Store jobs of an age in days; they end when they begin."""

    def store(count: int = 1, status: str = "succeeded", days: float = 0, **fields) -> None:
        at = timezone.now() - timedelta(days=days)
        given = {"owner": "v", "task": "t", "status": status, "created_at": at} | fields
        if status in ENDED:
            given = {"finished_at": at} | given
        Job.objects.bulk_create(
            Job(**given | {"created_at": given["created_at"] + timedelta(microseconds=n)})
            for n in range(count)
        )

    return store


@pytest.mark.parametrize("status", [*ENDED, "not_sent"])
def test_job_that_is_over_goes_after_its_days(store, settings, status):
    settings.JOB_DAYS = 2
    store(status=status, days=1.9)
    store(status=status, days=2.1)
    assert not sweep(now_ms())
    assert Job.objects.count() == 1


@pytest.mark.parametrize("status", UNENDED)
def test_job_that_has_not_ended_is_kept(store, status):
    store(status=status, days=999)
    sweep(now_ms())
    assert Job.objects.exists()


def test_days_count_from_the_end(store):
    store(days=99, finished_at=timezone.now())
    sweep(now_ms())
    assert Job.objects.exists()


def test_sweep_is_bounded_and_says_that_there_is_more(store, monkeypatch):
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    store(3, days=99)
    assert (sweep(now_ms()), Job.objects.count()) == (True, 1)
    assert (sweep(now_ms()), Job.objects.count()) == (False, 0)


def test_oldest_ended_jobs_of_a_visitor_go_beyond_the_bound(store, settings):
    settings.JOBS_PER_VISITOR = 3
    store(days=0.03, status="running")
    store(4, days=0.02)
    store(days=0.01, owner="other")
    assert not sweep(now_ms())
    assert Job.objects.filter(owner="v").count() == 4  # the running one is kept
    assert Job.objects.filter(owner="v", status="running").exists()
    assert Job.objects.filter(owner="other").exists()


def test_bound_is_kept_in_bounded_sweeps(store, settings, monkeypatch):
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    settings.JOBS_PER_VISITOR = 3
    store(8, days=0.01)
    while sweep(now_ms()):
        pass
    assert Job.objects.count() == 3


def test_jobs_without_an_owner_have_no_bound(store, settings):
    settings.JOBS_PER_VISITOR = 1
    store(3, owner="")
    sweep(now_ms())
    assert Job.objects.count() == 3


def test_every_new_job_is_looked_at_once(store, bounds, django_assert_num_queries):
    store(3)
    at = timezone.now()
    assert not bounds.look(at)
    with django_assert_num_queries(1):
        assert not bounds.look(at)
    store(1)
    with django_assert_num_queries(2):
        bounds.look(timezone.now())


def test_jobs_are_found_by_an_index(store):
    store()
    before = timezone.now()
    query = Job.objects.filter(retention.OVER, created_at__lt=before).order_by("created_at")[:300]
    if connection.vendor == "sqlite":
        assert "USING INDEX oldest_jobs" in query.explain()
