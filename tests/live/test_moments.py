from datetime import timedelta

import pytest
from django.utils import timezone

from live.moments import LOOK_BACK, changed_rows


@pytest.fixture
def table():
    """Rows by name, and a look at them."""

    class Table(dict):
        since = None

        def look(self):
            self.since, new = changed_rows(
                lambda moment: [(key, at) for key, at in self.items() if at > moment], self.since
            )
            return sorted(new)

    return Table()


def seconds(number):
    return timezone.now() + timedelta(seconds=number)


def test_first_look_finds_where_to_begin(table):
    table["old"] = seconds(-1)
    assert table.look() == []
    assert table.look() == []


def test_each_change_is_found_once(table):
    table.look()
    table |= {"a": seconds(1), "b": seconds(1)}
    assert table.look() == ["a", "b"]
    assert table.look() == []
    table["a"] = seconds(2)
    assert table.look() == ["a"]


def test_row_that_is_committed_late_is_found(table):
    table.look()
    table["quick"] = seconds(3)
    assert table.look() == ["quick"]
    table["slow"] = seconds(1)
    assert table.look() == ["slow"]
    assert table.look() == []


def test_only_the_last_seconds_are_remembered(table):
    table.look()
    table |= {str(number): seconds(number) for number in range(100)}
    table.look()
    assert len(table.since.moments) <= LOOK_BACK.total_seconds() + 1
    assert table.look() == []


def test_clock_that_is_ahead_hides_nothing_for_longer_than_the_look_back(table):
    table.look()
    table["ahead"] = seconds(4)
    assert table.look() == ["ahead"]
    table["here"] = seconds(0)
    assert table.look() == ["here"]


def test_row_that_is_deleted_soon_after_a_change_has_changed(table):
    table["a"] = seconds(0)
    table.look()
    del table["a"]
    assert table.look() == ["a"]
    assert table.look() == []
