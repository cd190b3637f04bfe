"""`manage.py migrate_locked`: `migrate`, by one process at a time.

No message passes here. Where nothing runs once before a release, every instance migrates when it
starts, and two may start at once: the second one waits and then finds nothing left to do.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.commands import migrate
from django.db import connections

# "migrate" in ASCII. It is a number among the locks of this database only.
# https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
LOCK = 0x6D696772617465


class Command(migrate.Command):
    help = "Migrate, while other processes that want to do so wait. On SQLite: only migrate."

    def handle(self, *args: Any, **options: Any) -> None:
        with locked(options["database"], self.stdout.write):
            super().handle(*args, **options)


@contextmanager
def locked(alias: str, say: Callable[[str], object]) -> Iterator[None]:
    """Hold the lock on a connection of its own: PostgreSQL lets go of it if this process dies."""
    if connections[alias].vendor != "postgresql":
        yield
        return
    connection = connections.create_connection(alias)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            if not cursor.fetchone()[0]:
                say("Another process is migrating. Waiting for it.")
                cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            yield
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    finally:
        connection.close()
