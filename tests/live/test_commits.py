import pytest
from django.db import connection

from catcher.models import Entry
from live.commits import commits

pytestmark = pytest.mark.django_db(transaction=True)


def test_first_look_is_always_worth_it():
    with commits() as committed:
        assert committed()


def test_commit_of_another_connection_is_noticed():
    with commits() as committed:
        committed()
        Entry.objects.create(bin="b", method="GET", path="/")
        assert committed()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="only SQLite counts commits")
def test_without_a_commit_there_is_nothing_to_read():
    with commits() as committed:
        committed()
        assert list(Entry.objects.all()) == []
        assert not committed()
