"""Uploads go for their age, a few at once, and their files with them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings as project
from django.db import connection

from broker.retention import sweep_all
from recipes import retention
from recipes.models import StoredFile, Upload
from recipes.retention import sweep

NOON = datetime(2031, 5, 1, 12, tzinfo=UTC)
NOW = int(NOON.timestamp() * 1000)
pytestmark = pytest.mark.django_db


def upload(days: float, name: str = "a.png") -> Upload:
    """An upload that is so many days old at noon, with a file."""
    at = NOON - timedelta(days=days)
    saved = Upload.objects.create(owner="somebody", name=name, created_at=at)
    saved.keep("before", b"bytes", {"bytes": 5})
    return saved


def test_upload_goes_after_its_days_with_its_files(settings):
    settings.UPLOAD_DAYS = 2
    upload(days=2.01)
    newer = upload(days=1.99)
    assert not sweep(NOW)
    assert Upload.objects.get() == newer
    assert StoredFile.objects.get().name == f"{newer.id}/before"


def test_sweep_is_bounded_and_takes_the_oldest_first(monkeypatch):
    monkeypatch.setattr(retention, "AT_ONCE", 2)
    for days in (97, 99, 98):
        upload(days, name=f"{days}.png")
    assert sweep(NOW)
    assert Upload.objects.get().name == "97.png"
    assert not sweep(NOW)
    assert not StoredFile.objects.exists()


def test_files_in_another_storage_go_too(settings, tmp_path):
    backend = "django.core.files.storage.FileSystemStorage"
    own = {"BACKEND": backend, "OPTIONS": {"location": tmp_path}}
    settings.STORAGES = settings.STORAGES | {"uploads": own}
    file = tmp_path / upload(days=99).id / "before"
    assert file.exists()
    sweep(NOW)
    assert not file.exists()


@pytest.mark.django_db(transaction=True)
async def test_queues_sweep_deletes_uploads_too():
    assert "recipes.retention.sweep" in project.SWEEPS
    old = await Upload.objects.acreate(owner="somebody", created_at=NOON - timedelta(days=99))
    await sweep_all(NOW)
    assert not await Upload.objects.filter(id=old.id).aexists()


def test_old_uploads_are_found_by_an_index():
    query = Upload.objects.older_than(NOON).order_by("created_at").values_list("id")[:20]
    if connection.vendor == "sqlite":
        assert "USING INDEX" in query.explain()
