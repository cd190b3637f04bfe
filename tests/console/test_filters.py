"""Filters are read from an address and written into links; nonsense is refused."""

from urllib.parse import parse_qsl

import pytest

from broker.errors import Rejected
from console.filters import read_filters


def test_filters_are_the_selectors_of_the_api():
    found = read_filters(
        {"url": " http://a.test/ ", "label": "x", "state": "failed", "queueName": ""}
    )
    assert found.state == "failed"
    assert found.selectors == {"url": ["http://a.test/"], "label": ["x"]}
    assert found.any


def test_minute_is_meant_as_a_whole():
    found = read_filters({"from": "1970-01-01T00:01", "to": "1970-01-01T00:01"})
    assert found.selectors == {"fromDate": ["60000"], "toDate": ["119999"]}
    assert read_filters({"to": "1970-01-01T00:01:30"}).selectors == {"toDate": ["90999"]}


def test_link_keeps_filters_and_changes_one():
    found = read_filters({"label": "a&b", "from": "2026-01-01T00:00", "state": "queued"})
    assert dict(parse_qsl(found.query(state="failed", cursor="1-2"))) == {
        "label": "a&b",
        "from": "2026-01-01T00:00",
        "state": "failed",
        "cursor": "1-2",
    }
    assert "state" not in found.query(state="")


@pytest.mark.parametrize(
    "query",
    [
        {"state": "DELIVERED"},
        {"from": "yesterday"},
        {"to": "9999-12-31T23:59"},
        {"from": "0001-01-01T00:00+23:59"},
        {"from": "1969-01-01T00:00"},
        {"label": ","},
        {"label": "a\0b"},
        {"url": "x" * 9000},
        {"label": ",".join("a" for _ in range(500))},
    ],
)
def test_filter_that_cannot_be_is_refused(query):
    with pytest.raises(Rejected):
        read_filters(query)
