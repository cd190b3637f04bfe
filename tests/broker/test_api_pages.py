"""Where a page begins, and how long it is. Whole pages are in test_api_events.py."""

import pytest

from broker.api.pages import Page, Place, read_pair, read_place


def test_page_has_as_many_rows_as_asked_for_up_to_the_most():
    assert read_place({}, default=10, most=100) == Place(10)
    assert read_place({"count": ["7"]}, default=10, most=100) == Place(7)
    assert read_place({"count": ["700"]}, default=10, most=100) == Place(100)


def test_cursor_of_an_earlier_answer_says_where_the_next_page_begins():
    assert read_place({"cursor": ["1800000000000-42"]}, default=10, most=100) == Place(10, 42)


@pytest.mark.parametrize("selectors", [{"count": ["0"]}, {"count": ["x"]}, {"cursor": ["x"]}])
def test_selector_that_makes_no_sense_is_refused(selectors):
    with pytest.raises(ValueError, match="count|cursor"):
        read_place(selectors, default=10, most=100)


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-2-3", "1-٣", "1-" + "2" * 19])
def test_anything_but_two_numbers_is_no_cursor(text):
    assert read_pair(text) is None


def test_last_page_names_no_next_one():
    assert Page([1], None).next == {}
    assert Page([1], "5-1").next == {"cursor": "5-1"}
