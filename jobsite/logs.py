"""The format of the log: one line per record, the time, level, logger and text, then fields.

A field is written as `name=value`. To follow a message through the log, filter for its
`message_id=msg_…` or its `job=…`.
"""

import json
import logging
import time
from typing import override

# What every record has. Everything else was passed as `extra` and is written as a field.
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "request"}


class LineFormatter(logging.Formatter):
    """Write a record's extra fields as `name=value`, with quotes where there are blanks."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    # UTC, whatever the time zone of the machine.
    converter = staticmethod(time.gmtime)

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in vars(record).items() if k not in STANDARD and v is not None}
        words = [super().formatMessage(record).replace("\n", "\\n")]
        words += [f"{name}={plain(value)}" for name, value in fields.items()]
        return " ".join(words)


def plain(value: object) -> str:
    """A value as it is if it is one word, or else in quotes."""
    text = str(value)
    return text if text and not set(text) & set(' \t\r\n"=') else json.dumps(text)
