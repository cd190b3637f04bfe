"""Messages are found newest first, by any filter, page by page, and in a bounded time."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from broker.clock import now_ms
from broker.models import DeadLetter, Message, State
from console import search
from console.filters import STATES, read_filters
from console.interface import PAGE
from console.search import LetterSearch, Search
from tests.broker.letters import bury
from tests.broker.messages import NOW, new_message

pytestmark = pytest.mark.django_db


def add(count: int = 1, **fields: object) -> list[Message]:
    """Messages, one millisecond after the other."""
    begin = Message.objects.count()
    rows = [new_message(created_at=NOW + begin + n, **fields) for n in range(count)]
    return Message.objects.bulk_create(rows)


def over(state: State, **fields: object) -> dict[str, object]:
    return {"state": state, "due_at": None, "expires_at": NOW} | fields


def found(cursor: str = "", **query: str) -> list[str]:
    return [message.message_id for message in Search(read_filters(query), cursor).page()[0]]


def ids(messages: list[Message]) -> list[str]:
    return [message.message_id for message in reversed(messages)]


def plans(sql: list[str]) -> str:
    with connection.cursor() as cursor:
        lines = []
        for one in sql:
            cursor.execute(f"EXPLAIN QUERY PLAN {one}")
            lines += [row[-1] for row in cursor.fetchall()]
    return "\n".join(lines)


def test_newest_come_first():
    added = add(3)
    assert found() == ids(added)


def test_pages_follow_each_other_without_gap_or_repetition():
    added = add(2 * PAGE + 7)
    Message.objects.update(created_at=NOW)  # even where all are of the same moment
    seen, cursor = [], ""
    for _ in range(3):
        page, cursor, cut = Search(read_filters({}), cursor).page()
        seen += [message.message_id for message in page]
        assert not cut
    assert (seen, cursor) == (ids(added), "")


@pytest.mark.parametrize(
    "fields, query",
    [
        ({"url": "http://a.test/?x=1,2"}, {"url": "http://a.test/?x=1,2"}),
        ({"labels": ",a,b,"}, {"label": "b"}),
        ({"queue_name": "q"}, {"queueName": "q"}),
        ({"schedule_id": "s"}, {"scheduleId": "s"}),
        ({"queue_name": "q", "labels": ",b,"}, {"queueName": "q,p", "label": "a,b"}),
    ],
)
def test_filter_chooses_what_it_chooses_in_the_api(fields, query):
    add(3)
    wanted = add(2, **fields)
    add(1, **over(State.DELIVERED))
    assert found(**query) == ids(wanted)
    assert str(Search(read_filters(query)).count("")) == "2"
    assert str(Search(read_filters(query)).count("queued")) == "2"
    assert str(Search(read_filters(query)).count("succeeded")) == "0"


@pytest.mark.parametrize("part", ["/api/long", "ong-task", "a.test", "http://a.test/", "x=%_"])
def test_part_of_a_url_is_enough(part):
    add(2, url="http://b.test/other?x=12")
    wanted = add(2, url="http://a.test/api/long-task?x=%_")
    assert found(url=part) == ids(wanted)
    bury(new_message(url="http://b.test/other?x=12"), new_message(url=wanted[0].url))
    assert str(LetterSearch(read_filters({"url": part})).count()) == "1"


def test_message_for_later_is_scheduled_until_it_is_due():
    later = add(1, not_before=now_ms() + 3_600_000)
    due = add(1)
    assert (found(state="scheduled"), found(state="queued")) == (ids(later), ids(due))
    counts = Search(read_filters({})).counts()
    assert (str(counts["scheduled"]), str(counts["queued"])) == ("1", "1")


def test_time_is_a_filter():
    first, middle, last = add(3)
    Message.objects.filter(pk=first.pk).update(created_at=NOW - 3_600_000)
    Message.objects.filter(pk=last.pk).update(created_at=NOW + 3_600_000)
    assert found(**{"from": "2023-11-14T22:13", "to": "2023-11-14T22:13"}) == [middle.message_id]
    assert len(found(**{"from": "2023-11-14T22:00"})) == 2
    assert found(to="2023-11-14T22:00") == [first.message_id]


def test_each_state_has_its_messages_and_its_count():
    wire = {
        "queued": {"state": State.CREATED},
        "running": {"state": State.ACTIVE},
        "waiting": {"state": State.RETRY},
        "succeeded": over(State.DELIVERED),
        "failed": over(State.FAILED),
        "cancelled": over(State.CANCELED),
    }
    wire["scheduled"] = {"not_before": now_ms() + 3_600_000}
    added = {state: add(2, **fields) for state, fields in wire.items()}
    counts = Search(read_filters({})).counts()
    for state in STATES:
        assert found(state=state) == ids(added[state])
        assert str(counts[state]) == "2"
    assert str(counts[""]) == "14"


def test_messages_of_other_accounts_are_not_found():
    add(2, account="other", labels=",a,")
    assert found() == found(label="a") == []
    assert str(Search(read_filters({})).count("")) == "0"


def test_count_stops_at_a_thousand():
    add(1001, **over(State.DELIVERED))
    assert str(Search(read_filters({})).count("succeeded")) == "1,000+"
    assert str(Search(read_filters({})).count("")) == "1,000+"


def test_search_ends_after_so_many_rows_says_so_and_goes_on_from_there(monkeypatch):
    monkeypatch.setattr(search, "COMPARED", (5, 10))
    (old,) = add(1, url="http://old.test/")
    add(25)
    filters, cursor = read_filters({"url": "http://old.test/"}), ""
    for _ in range(2):
        page, cursor, cut = Search(filters, cursor).page()
        assert (page, cut) == ([], True)
    page, cursor, cut = Search(filters, cursor).page()
    assert ([message.pk for message in page], cursor, cut) == ([old.pk], "", False)
    assert str(Search(filters).count("")) == "0+"


def test_many_unfinished_messages_are_searched_like_others(monkeypatch):
    monkeypatch.setattr(search, "FEW", 3)
    added = add(5)
    add(2, **over(State.DELIVERED))
    assert Search(read_filters({})).few_unfinished is None
    assert found(state="queued") == ids(added)
    later = add(4, not_before=now_ms() + 3_600_000)
    counts = Search(read_filters({})).counts()
    assert (str(counts["queued"]), str(counts["scheduled"]), str(counts["running"])) == (
        "5",
        "4",
        "0",
    )
    assert found(state="scheduled") == ids(later)
    monkeypatch.setattr(search, "COMPARED", (2, 6))
    counts = Search(read_filters({})).counts()
    assert (str(counts["queued"]), str(counts["scheduled"])) == ("0+", "4+")


@pytest.mark.parametrize(
    "query",
    [
        {}, {"state": "failed"}, {"state": "queued"}, {"label": "a"}, {"queueName": "q"},
        {"scheduleId": "s"}, {"url": "http://a.test/"}, {"from": "2020-01-01T00:00"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("count", [3, 300])
def test_number_of_queries_does_not_grow_and_none_has_an_offset(query, count):
    add(count, labels=",a,", queue_name="q", schedule_id="s", url="http://a.test/")
    with CaptureQueriesContext(connection) as page:
        Search(read_filters(query)).page()
    with CaptureQueriesContext(connection) as counts:
        Search(read_filters(query)).counts()
    assert len(page) <= 4
    assert len(counts) <= 20
    assert "OFFSET" not in str(page.captured_queries + counts.captured_queries)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads the plan as SQLite writes it")
@pytest.mark.parametrize(
    "query, index",
    [
        ({}, "messages_by_age"),
        ({"state": "failed"}, "ended_badly"),
        ({"state": "cancelled"}, "ended_badly"),
        ({"label": "a"}, "labelled_messages"),
        ({"queueName": "q"}, "messages_of_queue"),
        ({"scheduleId": "s"}, "messages_of_schedule"),
        ({"url": "http://a.test/"}, "messages_by_age"),
    ],
)
def test_an_index_leads_every_search(query, index):
    with CaptureQueriesContext(connection) as queries:
        Search(read_filters(query)).page()
    plan = plans([one["sql"] for one in queries.captured_queries])
    assert index in plan
    assert "SCAN broker_message\n" not in plan + "\n"


@pytest.mark.skipif(connection.vendor != "sqlite", reason="reads the plan as SQLite writes it")
def test_unfinished_messages_are_still_found_by_two_indexes():
    """The lists' own indexes must not take the place of those that the queue has for this."""
    with CaptureQueriesContext(connection) as queries:
        assert Search(read_filters({})).few_unfinished == []
    plan = plans([one["sql"] for one in queries.captured_queries])
    assert "MULTI-INDEX OR" in plan


def test_letters_are_found_newest_first_and_page_by_page():
    bury(*[new_message(labels=f",{n % 2},") for n in range(PAGE + 10)])
    keys = list(DeadLetter.objects.order_by("-id").values_list("id", flat=True))
    page, cursor, _ = LetterSearch(read_filters({})).page()
    rest, end, _ = LetterSearch(read_filters({}), cursor).page()
    assert [letter.pk for letter in page + rest] == keys
    assert end == ""
    assert str(LetterSearch(read_filters({})).count()) == "60"
    assert str(LetterSearch(read_filters({"label": "1"})).count()) == "30"


def test_search_of_letters_ends_and_goes_on_too(monkeypatch):
    monkeypatch.setattr(search, "COMPARED", (5, 10))
    bury(new_message(labels=",a,"), *[new_message() for _ in range(14)])
    filters = read_filters({"label": "a"})
    page, cursor, cut = LetterSearch(filters).page()
    assert (page, cut) == ([], True)
    (letter,), end, cut = LetterSearch(filters, cursor).page()
    assert (letter.message.labels, end, cut) == (",a,", "", False)


def test_letters_of_other_accounts_are_not_found():
    bury(new_message(account="other"))
    assert LetterSearch(read_filters({})).page()[0] == []
