"""A count says when there are more."""

from console.interface import Count


def test_count_is_written_for_people():
    assert str(Count(12)) == "12"
    assert str(Count(1000, more=True)) == "1,000+"
