"""One line a log record: time, level, logger, words, then `name=value` for the rest.

A message's way is read by filtering for its `message_id=msg_…` or its `job=…`.
"""

import json
import logging
import time
from typing import override

# What every record has; whatever else a call passed as `extra` is a field of ours.
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "request"}


class LineFormatter(logging.Formatter):
    """Write a record's extra fields as `name=value`, strings with blanks in quotes."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    # UTC, whatever the machine's time zone is.
    converter = staticmethod(time.gmtime)

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = {k: v for k, v in vars(record).items() if k not in STANDARD and v is not None}
        words = [super().formatMessage(record).replace("\n", "\\n")]
        words += [f"{name}={plain(value)}" for name, value in fields.items()]
        return " ".join(words)


def plain(value: object) -> str:
    """A value as one word, or quoted."""
    text = str(value)
    return text if text and not set(text) & set(' \t\r\n"=') else json.dumps(text)
