"""Fill the queue's tables with what a busy year leaves behind, in minutes.

One message has gone its way through the real code. Its row and the lines of its log are
copied as often as asked, by INSERT … SELECT, whatever columns they have; the ids are real ones.
"""

from collections.abc import Callable

from django.db import connection, transaction

from broker.models import Event, Message

AT_ONCE = 50_000
# Copies lie so far apart: a million of them in three days.
APART_MS = 250
MOMENTS = {"created_at", "not_before", "due_at", "expires_at"}


def fill(original: Message, count: int, new_id: Callable[[], str]) -> None:
    """Store `count` copies of a message and of its log."""
    for begin in range(0, count, AT_ONCE):
        size = min(AT_ONCE, count - begin)
        with transaction.atomic(), connection.cursor() as cursor:
            ids = [(number, new_id()) for number in range(size)]
            write_ids(cursor, ids)
            copy_message(cursor, original.message_id, shift=count - begin)
            copy_log(cursor, original.message_id)
            cursor.execute("DROP TABLE copy")
    tidy_up()


def write_ids(cursor, ids: list[tuple[int, str]]) -> None:
    """The copies' ids in a temporary table."""
    cursor.execute("CREATE TEMPORARY TABLE copy (number integer, message_id text)")
    for begin in range(0, len(ids), 1000):
        chunk = ids[begin : begin + 1000]
        values = ", ".join(["(%s, %s)"] * len(chunk))
        cursor.execute(
            f"INSERT INTO copy VALUES {values}",  # noqa: S608
            [value for row in chunk for value in row],
        )


def copy_message(cursor, message_id: str, shift: int) -> None:
    """A row for each id: the original's, but at moments of its own."""
    columns = [name for name in Message.columns() if name != "id"]
    moved = f"- {APART_MS} * ({shift} - copy.number)"
    own = {name: f"m.{name} {moved}" for name in MOMENTS} | {"message_id": "copy.message_id"}
    values = [own.get(name, f"m.{name}") for name in columns]
    cursor.execute(
        f"INSERT INTO broker_message ({', '.join(columns)}) SELECT {', '.join(values)}"  # noqa: S608
        " FROM broker_message m, copy WHERE m.message_id = %s ORDER BY copy.number",
        [message_id],
    )


def copy_log(cursor, message_id: str) -> None:
    """The original's log for every copy, line by line as time passed."""
    columns = [str(field.column) for field in Event._meta.concrete_fields if field.name != "id"]
    own = {"message_id": "copied.id", "time": "copied.created_at + line.time - m.created_at"}
    values = [own.get(name, f"line.{name}") for name in columns]
    cursor.execute(
        f"INSERT INTO broker_event ({', '.join(columns)}) SELECT {', '.join(values)}"  # noqa: S608
        " FROM broker_message m JOIN broker_event line ON line.message_id = m.id, copy"
        " JOIN broker_message copied ON copied.message_id = copy.message_id"
        " WHERE m.message_id = %s ORDER BY copied.id, line.id",
        [message_id],
    )


def tidy_up() -> None:
    """What a database does by itself in the time in which so much gathers."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM ANALYZE")
        else:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
