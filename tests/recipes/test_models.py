"""The day's mails are counted up to the limit; uploads are kept with their files, and go."""

from datetime import timedelta

import pytest
from django.utils import timezone

from recipes.models import MailDay, StoredFile, Upload, take_mails, today

pytestmark = pytest.mark.django_db


def test_mails_are_taken_up_to_the_limit_and_not_beyond(settings):
    settings.EMAIL_MOST_A_DAY = 10
    assert take_mails([6, 5, 4, 1]) == [True, False, True, False]
    assert MailDay.objects.get().count == 10


def test_more_than_a_days_mails_are_never_taken(settings):
    settings.EMAIL_MOST_A_DAY = 10
    assert take_mails([11]) == [False]


def test_next_day_begins_at_none_and_forgets_the_last(settings):
    settings.EMAIL_MOST_A_DAY = 10
    MailDay.objects.create(day=today() - timedelta(days=1), count=10)
    assert take_mails([10]) == [True]
    assert [(row.day, row.count) for row in MailDay.objects.all()] == [(today(), 10)]


def upload(owner: str = "somebody", days: int = 0) -> Upload:
    saved = Upload.objects.create(
        owner=owner, name="a.png", created_at=timezone.now() - timedelta(days=days)
    )
    saved.keep("before", b"bytes", {"bytes": 5})
    return saved


def test_upload_is_read_as_it_was_kept():
    saved = upload()
    assert saved.read("before") == b"bytes"
    assert Upload.objects.get().before == {"bytes": 5}
    with pytest.raises(FileNotFoundError):
        saved.read("after")


def test_what_is_kept_again_takes_the_place_of_the_first():
    saved = upload()
    saved.keep("before", b"other", {"bytes": 5})
    assert (saved.read("before"), StoredFile.objects.count()) == (b"other", 1)


def test_only_what_is_old_may_go_and_its_files_go_with_it():
    old, new = upload(days=8), upload(days=6)
    Upload.objects.older_than(timezone.now() - timedelta(days=7)).delete()
    assert list(Upload.objects.all()) == [new]
    assert [file.name for file in StoredFile.objects.all()] == [f"{new.id}/before"]
    assert old.id != new.id


def test_all_but_the_newest_are_deleted():
    oldest, middle, newest = (upload(days=days) for days in (3, 2, 1))
    other = upload("somebody else", days=9)
    assert Upload.objects.owned_by("somebody").delete_all_but_newest(2) == 1
    assert set(Upload.objects.all()) == {middle, newest, other}
    assert Upload.objects.all().delete_all_but_newest(10) == 0
    assert oldest.id not in Upload.objects.values_list("id", flat=True)


def test_storage_may_be_any_other_one(settings, tmp_path):
    backend = "django.core.files.storage.FileSystemStorage"
    own = {"BACKEND": backend, "OPTIONS": {"location": tmp_path}}
    settings.STORAGES = settings.STORAGES | {"uploads": own}
    saved = upload()
    file = tmp_path / saved.id / "before"
    assert file.read_bytes() == saved.read("before") == b"bytes"
    saved.delete()
    assert not file.exists()
