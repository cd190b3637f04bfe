"""What the connections of both databases share: after a timeout, the next statements fail at once.

No message passes here. Synchronous work takes turns in a thread. If each of ten requests waited
for the same lock, the last one would wait ten times as long as the first.
"""

import time
from typing import Any

from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

from groupcommit.outages import PAUSE_SECONDS, NoAnswer, code_of, is_limited, is_timeout

# SQLite's: read-only, I/O error, cannot open.
DISK_CODES = {8, 10, 14}
# PostgreSQL's, among others for a prepared statement whose columns a migration has changed.
NOT_SUPPORTED = "0A000"


class Disk:
    """How often SQLite's disk has failed this process."""

    failures = 0


disk = Disk()


class ErrorNotes(DatabaseErrorWrapper):
    """Note timeouts on the connection, of which each thread has one, and failures of the disk.

    Close a connection that has prepared a statement for columns that are not the same any more.
    """

    wrapper: Any

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if exc_type is not None and is_timeout(exc_value):
            self.wrapper.timed_out_at = time.monotonic()
        if exc_type is not None and code_of(exc_value) in DISK_CODES:
            disk.failures += 1
        # In a transaction, psycopg forgets the plan at the rollback.
        if has_stale_plan(exc_value) and not self.wrapper.in_atomic_block:
            self.wrapper.connection.close()
        super().__exit__(exc_type, exc_value, traceback)


def has_stale_plan(error: Any) -> bool:
    """Whether a statement was prepared before a migration changed its columns."""
    return error is not None and code_of(error) == NOT_SUPPORTED and "cached plan" in str(error)


NEVER = float("-inf")


class Impatient:
    """For a moment after a timeout, refuse statements outside of a transaction."""

    timed_out_at = NEVER
    in_atomic_block: bool

    @cached_property
    def wrap_database_errors(self) -> ErrorNotes:
        return ErrorNotes(self)

    def refuse_after_timeout(self) -> None:
        """Raise NoAnswer if a statement in this thread has just timed out."""
        since = time.monotonic() - self.timed_out_at
        if since < PAUSE_SECONDS and is_limited():
            raise NoAnswer("it has not answered the requests before this one")

    def _cursor(self, name: str | None = None) -> Any:
        if not self.in_atomic_block:
            self.refuse_after_timeout()
        return super()._cursor(name)  # type: ignore[misc]


def forget_timeout(wrapper: Any) -> None:
    """Let this thread's next statement wait again: the caller retries after the timeout."""
    wrapper.timed_out_at = NEVER
