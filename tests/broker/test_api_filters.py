"""Filters: which rows each of them finds, and what is refused before a query is made."""

import pytest

from broker.api.filters import (
    MOST_IDS,
    as_texts,
    check_known,
    date_condition,
    message_condition,
    number,
    numbers,
    only,
    values,
)
from broker.api.pages import read_count, read_pair, read_place
from broker.errors import Rejected
from broker.models import Message
from tests.broker.messages import NOW, new_message

URL = "https://a.test/x?b=1,2"


def found(condition) -> list[bytes]:
    """The bodies of the messages that a condition finds."""
    bodies = Message.objects.filter(condition).order_by("id").values_list("body", flat=True)
    return [bytes(body) for body in bodies]


def stored(body: bytes, **fields: object) -> None:
    new_message(body=body, **fields).save()


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("messageId", "message_id"),
        ("url", "url"),
        ("topicName", "url_group"),
        ("queueName", "queue_name"),
        ("scheduleId", "schedule_id"),
        ("flowControlKey", "flow_control_key"),
        ("host", "host"),
        ("path", "path"),
        ("callerIp", "caller_ip"),
        ("callerIP", "caller_ip"),
    ],
)
def test_filter_finds_rows_with_exactly_that_value(db, name, field):
    start = {"url": "http://", "path": "/"}.get(name, "")
    one, two, three = f"{start}one", f"{start}two", f"{start}three"
    for body, value in ((b"a", one), (b"b", f"{one}two"), (b"c", f"{start}ONE"), (b"d", two)):
        stored(body, **{field: value})
    assert found(message_condition({name: [one]})) == [b"a"]
    assert found(message_condition({name: [one, two]})) == [b"a", b"d"]
    assert found(message_condition({name: [f"{one},{two},{three}"]})) == [b"a", b"d"]
    assert found(message_condition({name: [three]})) == []


def test_different_filters_must_all_hold(db):
    stored(b"a", queue_name="q", labels=",one,")
    stored(b"b", queue_name="q")
    stored(b"c", labels=",one,")
    assert found(message_condition({"queueName": ["q"], "label": ["one", "two"]})) == [b"a"]


def test_whole_label_is_found_among_others(db):
    stored(b"a", labels=",one,two,")
    stored(b"b", labels=",ONE,")
    stored(b"c", labels=",lone,")
    stored(b"d", labels="")
    stored(b"e", labels=",%,")
    assert found(message_condition({"label": ["one"]})) == [b"a"]
    assert found(message_condition({"label": ["ONE,two"]})) == [b"a", b"b"]
    assert found(message_condition({"label": ["o_e"]})) == []
    assert found(message_condition({"label": ["%"]})) == [b"e"]


@pytest.mark.parametrize("name", ["label", "url", "messageId"])
def test_empty_list_finds_no_row(db, name):
    stored(b"a", labels=",one,")
    assert found(message_condition({name: []})) == []


def test_no_filter_finds_every_row(db):
    stored(b"a")
    assert found(message_condition({})) == [b"a"]


def test_url_keeps_its_commas(db):
    stored(b"a", url=URL)
    stored(b"b", url="https://a.test/x?b=1")
    assert found(message_condition({"url": [URL]})) == [b"a"]
    assert found(message_condition({"url": [f"{URL},https://a.test/x?b=1"]})) == [b"a", b"b"]


def test_key_may_hold_a_comma_or_be_one_of_a_list(db):
    for body, key in ((b"a", "k,1"), (b"b", "k"), (b"c", "2")):
        stored(body, flow_control_key=key)
    assert found(message_condition({"flowControlKey": ["k,1"]})) == [b"a", b"b"]


def test_url_is_found_as_it_was_published(db):
    stored(b"a", url="https://a.test/%20%C3%A9?x=%2F", path="/%20%C3%A9")
    assert found(message_condition({"url": ["https://a.test/ é?x=%2F#part"]})) == [b"a"]
    assert found(message_condition({"path": ["/ é"]})) == [b"a"]


def test_dates_are_inclusive(db):
    for body, moment in ((b"a", NOW - 1), (b"b", NOW), (b"c", NOW + 1)):
        stored(body, created_at=moment)
    assert found(date_condition({"fromDate": [str(NOW)]}, "created_at")) == [b"b", b"c"]
    assert found(date_condition({"toDate": [str(NOW)]}, "created_at")) == [b"a", b"b"]
    both = {"fromDate": [str(NOW)], "toDate": [str(NOW)]}
    assert found(date_condition(both, "created_at")) == [b"b"]


def test_values_are_trimmed_and_empty_parts_left_out():
    assert values({"label": [" a , b,,", "c"]}, "label") == ["a", "b", "c"]
    assert numbers({"responseStatus": ["500, 404", "0"]}, "responseStatus") == [500, 404, 0]


@pytest.mark.parametrize("given", ["", " ", ",", ", ,"])
def test_filter_without_a_value_is_refused(given):
    with pytest.raises(Rejected, match="label must not be empty"):
        values({"label": [given]}, "label")


@pytest.mark.parametrize("given", ["a\0", "\ud800", "a\r\nb"])
def test_control_character_is_refused(given):
    with pytest.raises(Rejected, match="queueName holds a character"):
        values({"queueName": [given]}, "queueName")


@pytest.mark.parametrize(("name", "most"), [("label", 100), ("messageIds", MOST_IDS)])
def test_more_values_than_a_database_takes_are_refused(name, most):
    assert len(values({name: ["x"] * most}, name)) == most
    with pytest.raises(Rejected, match=f"{name}: more than {most} values"):
        values({name: ["x," * most + "x"]}, name)


def test_as_many_ids_and_labels_as_allowed_are_searched_for(db):
    stored(b"a", message_id="msg_7", labels=",99,")
    many = {"messageId": [f"msg_{n}" for n in range(MOST_IDS)]}
    assert found(message_condition(many)) == [b"a"]
    assert found(message_condition({"label": [str(n) for n in range(100)]})) == [b"a"]


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1e3", "x", "9" * 19, "٣", "1\n"])
def test_wrong_number_is_refused_by_its_name(text):
    with pytest.raises(Rejected, match="fromDate must be a whole number"):
        number(text, "fromDate")


def test_single_value_may_be_given_only_once():
    assert only({"order": ["a"]}, "order") == "a"
    with pytest.raises(Rejected, match="order must be given once"):
        only({"order": ["a", "b"]}, "order")


@pytest.mark.parametrize("value", [None, True, 1.5, {}, [None], [["a"]]])
def test_value_of_a_body_is_text_or_number(value):
    with pytest.raises(Rejected, match="'label' must be a text"):
        as_texts("label", value)


def test_body_may_hold_one_value_or_a_list():
    assert as_texts("label", "a") == ["a"]
    assert as_texts("responseStatus", [500, "404"]) == ["500", "404"]


def test_unknown_filter_is_refused_with_those_that_are_known():
    check_known({"label": ["a"]}, ["label", "url"])
    with pytest.raises(Rejected, match=r"unknown filter 'labeel', known are label, url"):
        check_known({"labeel": ["a"]}, ["label", "url"])


def test_count_has_a_default_and_a_maximum():
    assert read_count({}, 100, 1000) == 100
    assert read_count({"count": ["7"]}, 100, 1000) == 7
    assert read_count({"count": ["5000"]}, 100, 1000) == 1000
    with pytest.raises(Rejected, match="count must be at least 1"):
        read_count({"count": ["0"]}, 100, 1000)


@pytest.mark.parametrize("cursor", ["x", "1", "1-", "-1", "1-2-3", "1-x", f"1-{'9' * 19}"])
def test_cursor_of_another_form_is_refused(cursor):
    assert read_pair("17-4") == (17, 4)
    with pytest.raises(Rejected, match="cursor must be one of an earlier answer"):
        read_place({"cursor": [cursor]}, 100, 1000)
