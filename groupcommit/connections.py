"""What both databases' connections have in common: nobody waits behind one who waits in vain.

No message passes here. Synchronous work takes turns in a thread. If each of ten requests waited
for a lock that somebody holds, the last one would wait ten times as long as the first.
"""

import time
from typing import Any

from django.db.utils import DatabaseErrorWrapper
from django.utils.functional import cached_property

from groupcommit.outages import PAUSE_SECONDS, NoAnswer, code_of, is_limited, is_wait_in_vain

# SQLite's: read-only, I/O error, cannot open.
DISK_CODES = {8, 10, 14}


class Disk:
    """How often SQLite's disk has failed this process."""

    failures = 0


disk = Disk()


class NotingErrors(DatabaseErrorWrapper):
    """Note on the connection's wrapper, of which each thread has its own, a wait in vain."""

    wrapper: Any

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if exc_type is not None and is_wait_in_vain(exc_value):
            self.wrapper.waited_in_vain_at = time.monotonic()
        if exc_type is not None and code_of(exc_value) in DISK_CODES:
            disk.failures += 1
        super().__exit__(exc_type, exc_value, traceback)


NEVER = float("-inf")


class Impatient:
    """For a moment after a wait in vain, refuse other statements than a transaction's."""

    waited_in_vain_at = NEVER
    in_atomic_block: bool

    @cached_property
    def wrap_database_errors(self) -> NotingErrors:
        return NotingErrors(self)

    def refuse_to_wait(self) -> None:
        """NoAnswer if somebody in this thread has just waited in vain."""
        since = time.monotonic() - self.waited_in_vain_at
        if since < PAUSE_SECONDS and is_limited():
            raise NoAnswer("it did not answer those who asked before")

    def _cursor(self, name: str | None = None) -> Any:
        if not self.in_atomic_block:
            self.refuse_to_wait()
        return super()._cursor(name)  # type: ignore[misc]


def forget_wait(wrapper: Any) -> None:
    """Let this thread's next statement wait: whoever waited in vain tries again at once."""
    wrapper.waited_in_vain_at = NEVER
