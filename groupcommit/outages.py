"""What to do while the database does not answer: how long to wait, and what to log.

No message passes here. A process that answers requests calls `limit_waiting`. From then on it
waits for a connection, a lock or a statement only as long as it can and still answer every request
within five seconds. Code that catches a database error calls `is_outage` to learn whether the
database failed or the statement was wrong, and `report` to log an outage.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import OperationalError

logger = logging.getLogger(__name__)

# How long a request may wait for a connection, for a statement or SQLite's lock, and for a write
# that others commit with. Each leaves time to answer within five seconds.
CONNECT_SECONDS = 1.5
STATEMENT_SECONDS = 2.5
ANSWER_SECONDS = 4.0
# How long a process that answers no requests waits for a connection or for SQLite's lock.
PATIENT_SECONDS = 20.0
# After a timeout, the next statements in the same thread fail at once for this long.
PAUSE_SECONDS = 0.5
# At most one line in the log for each of these; the others are counted.
LOG_SECONDS = 1.0
# What a client is told to wait before it asks again.
RETRY_AFTER_SECONDS = 2
LONGEST_ERROR = 300

# https://www.postgresql.org/docs/current/errcodes-appendix.html: 54 is a limit that the statement
# exceeds, so the statement is wrong. Of the internal errors, 25006 is a read-only database.
NOT_THE_DATABASE = ("54",)
INTERNAL = ("25006", "58", "XX")
# https://www.sqlite.org/rescode.html: no permission, busy, locked, no memory, read-only,
# interrupted, I/O error, corrupt, full, cannot open, protocol, schema changed, not a database.
# Others are errors in the statement.
SQLITE_CODES = {3, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 17, 26}
WORDS = {
    "53300": "it has no connection left",
    "53100": "its disk is full",
    "25006": "it is read-only",
    "55P03": "it is locked",
    "57014": "it has not answered in time",
    5: "it is locked",
    6: "it is locked",
    8: "it is read-only",
    13: "its disk is full",
}
# The code of an error in connecting is not known.
FULL_UP = ("too many clients", "connection slots are reserved", "too many connections")
PREFIX = "the database is not answering"


class NoAnswer(OperationalError):
    """The database has not answered in time. The statement may still take effect, or not."""


class Waiting(threading.local):
    """How long the present thread waits for a statement, if it is not as all others do."""

    seconds: float | None = None
    is_patient = False


_waiting = Waiting()
_limited = False


def limit_waiting() -> None:
    """Limit how long this process waits for the database, as it answers requests."""
    global _limited
    _limited = True


def wait_patiently() -> None:
    """Let the present thread wait as long as it takes: it runs a task."""
    _waiting.is_patient = True


def is_patient() -> bool:
    """Whether the present thread runs a task."""
    return _waiting.is_patient


def is_limited() -> bool:
    return _limited and not _waiting.is_patient


def statement_seconds() -> float | None:
    """How long the present thread may wait for a statement; None for as long as it takes."""
    return (_waiting.seconds or STATEMENT_SECONDS) if is_limited() else None


def lock_seconds() -> float:
    """How long the present thread may wait for SQLite's lock."""
    return (_waiting.seconds or STATEMENT_SECONDS) if is_limited() else PATIENT_SECONDS


def connect_seconds() -> float:
    """How long the present thread may wait for a connection."""
    return CONNECT_SECONDS if is_limited() else PATIENT_SECONDS


@contextmanager
def wait_at_most(seconds: float) -> Iterator[None]:
    """Let the present thread wait less than others for each statement."""
    _waiting.seconds = seconds
    try:
        yield
    finally:
        _waiting.seconds = None


def code_of(error: BaseException) -> str | int | None:
    """What the driver calls the error: PostgreSQL's five letters, or SQLite's number."""
    for each in (error, error.__cause__):
        if number := getattr(each, "sqlite_errorcode", None):
            return int(number) & 0xFF
        if letters := getattr(each, "sqlstate", None):
            return str(letters)
    return None


def is_outage(error: BaseException) -> bool:
    """Whether the database has failed, rather than the statement being wrong."""
    code = code_of(error)
    if isinstance(code, int):  # Python raises some of SQLite's as a plain DatabaseError
        return code in SQLITE_CODES
    names = {kind.__name__ for kind in type(error).__mro__}  # Django's kinds and the drivers'
    if "InternalError" in names:
        return isinstance(code, str) and code.startswith(INTERNAL)
    if not names & {"OperationalError", "InterfaceError"}:
        return False
    return not (code and code.startswith(NOT_THE_DATABASE))


def is_timeout(error: BaseException) -> bool:
    """Whether the error came after all the time allowed, so the next statement should not wait."""
    return isinstance(error, NoAnswer) or code_of(error) in {5, 6, "57014"}


def reason(error: BaseException) -> str:
    """What is wrong with the database, in our words."""
    if isinstance(error, NoAnswer):
        return str(error)
    is_full_up = any(words in str(error) for words in FULL_UP)
    code = code_of(error) or ("53300" if is_full_up else "")
    return WORDS.get(code, "it cannot be reached")


def in_words(error: BaseException) -> str:
    """What to tell a client. It quotes nothing from the driver."""
    return f"{PREFIX}: {reason(error)}"


class Log:
    """One line a second for all failures in a process, and one line at the end."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lasting = False
        self.since = self.logged_at = float("-inf")
        self.left_out = 0

    def report(self, error: BaseException) -> None:
        """Log a failure of the database."""
        now = time.monotonic()
        with self.lock:
            if not self.lasting:
                self.lasting, self.since = True, now
            if now - self.logged_at < LOG_SECONDS:
                self.left_out += 1
                return
            left_out, self.left_out, self.logged_at = self.left_out, 0, now
        text = " ".join(str(error).split())[:LONGEST_ERROR]
        extra = {"error": text or type(error).__name__, "left_out": left_out}
        logger.error("database is not answering", extra=extra)

    def end(self) -> None:
        """Something has been written again."""
        now = time.monotonic()
        with self.lock:
            if not self.lasting or now - self.logged_at < LOG_SECONDS:
                return  # it may be one of those that come and go
            left_out, self.left_out, self.lasting = self.left_out, 0, False
            seconds = round(now - self.since, 1)
        logger.info("database answers again", extra={"after": seconds, "left_out": left_out})


log = Log()


def report(error: BaseException) -> None:
    """Log a failure of the database, in at most one line a second."""
    log.report(error)


@contextmanager
def survived() -> Iterator[None]:
    """Report an outage and go on; raise any other error."""
    try:
        yield
    except Exception as error:
        if not reported(error):
            raise


def reported(error: BaseException) -> bool:
    """Log an error if it is an outage. Return False if it is not: the caller must handle it."""
    if not is_outage(error):
        return False
    report(error)
    return True
