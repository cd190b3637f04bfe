"""Another process's view of the database: a connection that shares nothing with ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections


@contextmanager
def another_cursor() -> Iterator[Any]:
    """A cursor of a connection of its own, which commits each statement."""
    other = connections.create_connection(DEFAULT_DB_ALIAS)
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


def elsewhere(sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Execute a statement there, and commit it; its rows, if it has any."""
    with another_cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else []
