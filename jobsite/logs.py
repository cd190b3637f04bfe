"""The two formats of the log: one line per record, the time, level, logger and text, then fields.

As text, a field is written as `name=value`: to follow a message, filter for its `message_id=msg_…`
or its `job=…`. As JSON (LOG_FORMAT=json), a line is an object, and a traceback one of its texts.
"""

import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, override

from logfields import log_fields

# No line names the process or the task that wrote it, so do not find out.
# https://docs.python.org/3/howto/logging.html#optimization
logging.logMultiprocessing = False
logging.logAsyncioTasks = False  # type: ignore[attr-defined]  # since 3.12
ONE_WORD = re.compile(r'[^ \t\r\n"=]+')
# What every record has. Everything else was passed as `extra` and is written as a field.
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "request"}


def fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """What a record was given as `extra`, then what its context belongs to."""
    given = {k: v for k, v in vars(record).items() if k not in STANDARD and v is not None}
    return given | {k: v for k, v in log_fields.get().items() if v and k not in given}


class LineFormatter(logging.Formatter):
    """Write a record's fields as `name=value`, with quotes where there are blanks."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    # UTC, whatever the time zone of the machine.
    converter = staticmethod(time.gmtime)

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        words = [super().formatMessage(record).replace("\n", "\\n")]
        words += [f"{name}={plain(value)}" for name, value in fields_of(record).items()]
        return " ".join(words)


class JsonFormatter(LineFormatter):
    """Write a record as one JSON object; a field never replaces one of the first four."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(dict(self.parts(record)), default=str, ensure_ascii=False)

    def parts(self, record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
        own = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        yield from own.items()
        for name, value in fields_of(record).items():
            yield (f"{name}_" if name in own else name), value
        if record.exc_info:
            yield "traceback", self.formatException(record.exc_info)


def plain(value: object) -> str:
    """A value as it is if it is one word, or else in quotes."""
    text = str(value)
    return text if ONE_WORD.fullmatch(text) else json.dumps(text)
