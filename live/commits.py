"""Whether something has been committed since the last look, without a query.

No message passes here. SQLite counts the commits of all processes in shared memory, so a look
takes microseconds and no lock. PostgreSQL has nothing of the kind that costs less than a look
at the tables.
https://www.sqlite.org/pragma.html#pragma_data_version
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from django.db import connection

from groupcommit.connections import disk


@contextmanager
def commits() -> Iterator[Callable[[], bool]]:
    """A function that says whether to look into the database. True at its first call."""
    if connection.vendor != "sqlite":
        yield lambda: True
        return
    name = connection.settings_dict["NAME"]
    failures = disk.failures
    with closing(sqlite3.connect(name, check_same_thread=False)) as watching:
        seen = None

        def committed() -> bool:
            nonlocal seen
            if failures != disk.failures:  # then all connections must be opened anew
                raise sqlite3.OperationalError("the disk has failed")
            before, (seen,) = seen, watching.execute("PRAGMA data_version").fetchone()
            return bool(seen != before)

        yield committed
