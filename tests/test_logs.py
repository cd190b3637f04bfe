"""One line per record, its fields after the text."""

import logging

import pytest

from jobsite.logs import LineFormatter, plain


def line(message: str, *args: object, **extra: object) -> str:
    record = logging.makeLogRecord({"name": "jobs.receiving", "levelname": "INFO", "created": 0.25})
    record.msg, record.args, record.msecs = message, args, 250
    vars(record).update(extra)
    return LineFormatter().format(record)


def test_line_begins_with_the_moment_in_utc():
    assert line("started") == "1970-01-01T00:00:00.250Z INFO jobs.receiving started"


def test_fields_follow_the_words():
    assert line("started", job="j", sent=4).endswith("started job=j sent=4")


def test_field_without_a_value_is_left_out():
    assert line("started", job=None).endswith("started")


def test_message_with_arguments_is_filled_in():
    assert line("%d sent", 4).endswith("4 sent")


def test_message_of_two_lines_stays_on_one():
    assert line("one\ntwo", reason="three\nfour\r").endswith(r'one\ntwo reason="three\nfour\r"')


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (7, "7"),
        ("msg_1", "msg_1"),
        ("", '""'),
        ("HTTP 500", '"HTTP 500"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
    ],
)
def test_value_with_blanks_is_quoted(value, word):
    assert plain(value) == word
