"""Files in the database behave as Django's storages do, for every process alike."""

from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.utils import timezone

from recipes.models import StoredFile
from recipes.storage import DatabaseStorage

pytestmark = pytest.mark.django_db


@pytest.fixture
def storage() -> DatabaseStorage:
    return DatabaseStorage()


def test_uploads_are_kept_in_the_database_by_default():
    assert isinstance(storages["uploads"], DatabaseStorage)


def test_file_comes_back_as_it_was_saved(storage):
    content = bytes(range(256)) * 10
    name = storage.save("one/before", ContentFile(content))
    with storage.open(name) as file:
        assert (name, file.name, file.read()) == ("one/before", "one/before", content)
    assert (storage.size(name), storage.exists(name)) == (2560, True)


def test_text_is_saved_as_utf8(storage):
    assert storage.open(storage.save("text", ContentFile("größe"))).read() == "größe".encode()


def test_file_that_is_saved_twice_gets_another_name(storage):
    first, second = storage.save("a", ContentFile(b"1")), storage.save("a", ContentFile(b"2"))
    assert first != second
    assert storage.open(first).read() == b"1"


def test_file_that_is_not_there_is_not_found(storage):
    for ask in (storage.open, storage.size, storage.get_created_time):
        with pytest.raises(FileNotFoundError, match="no file 'nothing'"):
            ask("nothing")
    assert not storage.exists("nothing")
    storage.delete("nothing")


def test_deleted_file_is_gone(storage):
    storage.delete(storage.save("a", ContentFile(b"1")))
    assert not StoredFile.objects.exists()


def test_file_cannot_be_opened_for_writing(storage):
    storage.save("a", ContentFile(b"1"))
    with pytest.raises(ValueError, match="for reading"):
        storage.open("a", "wb")


def test_folders_are_listed_with_their_files(storage):
    for name in ("top", "one/before", "one/after", "two/deep/file"):
        storage.save(name, ContentFile(b""))
    assert storage.listdir("") == (["one", "two"], ["top"])
    assert storage.listdir("one") == ([], ["after", "before"])
    assert storage.listdir("two/") == (["deep"], [])


def test_file_knows_when_it_was_saved(storage):
    name = storage.save("a", ContentFile(b"1"))
    assert timezone.now() - storage.get_modified_time(name) < timedelta(minutes=5)
    assert storage.get_created_time(name) == storage.get_modified_time(name)


def test_file_has_no_address_of_its_own(storage):
    with pytest.raises(NotImplementedError):
        storage.url("a")
