"""One line per record, as text with its fields after it, or as JSON."""

import contextvars
import json
import logging
import sys
from pathlib import Path

import pytest

from jobsite.logs import JsonFormatter, LineFormatter, plain
from logfields import belongs_to, log_fields


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


def parsed(message: str, *args: object, **extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"name": "jobs.receiving", "levelname": "INFO", "created": 0.25})
    record.msg, record.args, record.msecs = message, args, 250
    vars(record).update(extra)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    return json.loads(text)


def test_json_has_moment_level_logger_text_and_fields():
    assert parsed("%d sent", 4, job="j", steps_done=4, status=None) == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "INFO",
        "logger": "jobs.receiving",
        "message": "4 sent",
        "job": "j",
        "steps_done": 4,
    }


def test_json_keeps_a_traceback_as_one_text():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        found = parsed("attempt failed", exc_info=sys.exc_info())
    assert found["traceback"].startswith("Traceback (most recent call last):\n")
    assert found["traceback"].endswith("ValueError: two\nlines")


def test_json_field_replaces_none_of_the_first_four():
    assert parsed("started", time="now", level=1) | {"time": "", "level": ""} == parsed(
        "started"
    ) | {"time": "", "level": "", "time_": "now", "level_": 1}


def test_json_takes_any_value():
    assert parsed("started", path=Path("/a"))["path"] == "/a"


@pytest.mark.parametrize("write", [line, lambda text: json.dumps(parsed(text))])
def test_line_has_what_its_context_belongs_to(write):
    def in_context() -> str:
        belongs_to(job="j1")
        belongs_to(message_id="msg_1")
        return write("started")

    written = contextvars.Context().run(in_context)
    assert "j1" in written and "msg_1" in written
    assert "j1" not in contextvars.Context().run(write, "started")


def test_field_that_was_given_wins_over_the_context():
    def in_context() -> str:
        log_fields.set({"job": "j1"})
        return line("started", job="j2")

    assert contextvars.Context().run(in_context).endswith("started job=j2")
