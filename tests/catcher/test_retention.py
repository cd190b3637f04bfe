"""Caught requests go for their age, or when all bins together are too large."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import AsyncClient
from django.utils import timezone

from catcher import retention
from catcher.models import Bin, Entry, change
from catcher.retention import ROW_BYTES, Flood, sweep

MEGABYTE = 1024 * 1024


def now_ms() -> int:
    return int(timezone.now().timestamp() * 1000)


@pytest.fixture
def store(db):
    """Store entries of an age in days; `size` is what they claim to take."""

    def store(count: int = 1, days: float = 0, **fields) -> None:
        at = timezone.now() - timedelta(days=days)
        given = {"bin": "b", "method": "POST", "path": "/", "body": b"", "at": at} | fields
        Entry.objects.bulk_create(Entry(**given) for _ in range(count))

    return store


def test_old_requests_go_and_newer_ones_stay(store, settings):
    settings.CATCHER_DAYS = 2
    store(days=2.1, path="/old")
    store(days=1.9, path="/newer")
    assert not sweep(now_ms())
    assert Entry.objects.get().path == "/newer"


def test_sweep_is_bounded_and_says_that_there_is_more(store, monkeypatch):
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    store(3, days=99)
    assert (sweep(now_ms()), Entry.objects.count()) == (True, 1)
    assert (sweep(now_ms()), Entry.objects.count()) == (False, 0)


def test_oldest_go_first_when_all_are_too_large_together(store, settings):
    settings.CATCHER_MEGABYTES = 1
    for number in range(5):
        store(days=5 - number, path=f"/{number}", bin=f"bin-{number}", size=MEGABYTE // 4)
    sweep(now_ms())
    assert [entry.path for entry in Entry.objects.order_by("id")] == ["/2", "/3", "/4"]


def test_nothing_goes_that_fits(store, settings):
    settings.CATCHER_MEGABYTES = 1
    store(4, size=MEGABYTE // 4 - ROW_BYTES)
    assert not sweep(now_ms())
    assert Entry.objects.count() == 4


def test_excess_is_deleted_in_bounded_sweeps(store, settings, monkeypatch):
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    settings.CATCHER_MEGABYTES = 1
    store(9, size=MEGABYTE // 4 - ROW_BYTES)
    counts = []
    while sweep(now_ms()):
        counts.append(Entry.objects.count())
    assert [*counts, Entry.objects.count()] == [7, 5, 4]


async def test_flood_does_not_wait_for_the_sweep(transactional_db, settings):
    settings.CATCHER_MEGABYTES = 1
    for number in range(40):
        await AsyncClient().post(f"/catcher/flood-{number}/", b"x" * 60_000, "text/plain")
    kept = await Entry.objects.acount()
    assert 10 <= kept <= 20
    assert await Entry.objects.filter(bin="flood-39").aexists()


async def test_total_is_looked_at_once_in_a_tenth_of_it(transactional_db, settings, caplog):
    settings.CATCHER_MEGABYTES = 1
    flood = Flood()
    await flood.keep_within(MEGABYTE // 20)
    assert flood.caught_bytes
    await flood.keep_within(MEGABYTE // 20)
    assert not flood.caught_bytes


def test_answers_of_unused_bins_are_forgotten(store):
    change([(name, {"status": 503}) for name in ("used", "unused", "fresh")])
    Bin.objects.exclude(name="fresh").update(changed_at=timezone.now() - timedelta(days=99))
    store(bin="used")
    sweep(now_ms())
    assert sorted(Bin.objects.values_list("name", flat=True)) == ["fresh", "used"]


def test_number_of_answers_is_bounded(db, monkeypatch):
    monkeypatch.setattr(retention, "MOST_BINS", 2)
    for name in "abc":
        change([(name, {})])
    sweep(now_ms())
    assert sorted(Bin.objects.values_list("name", flat=True)) == ["b", "c"]


def test_old_requests_are_found_by_an_index(store):
    query = Entry.objects.filter(at__lt=timezone.now()).order_by("at").values_list("id")[:300]
    if connection.vendor == "sqlite":
        assert "USING COVERING INDEX oldest_entries" in query.explain()
