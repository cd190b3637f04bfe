"""One statement for many rows, built without Django's compiler.

Every message makes the same few writes. Building their SQL anew takes Django longer than the
database takes to execute it, so it is put together here once for each model and number of
rows; values still go through the model's own fields.
"""

import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import (
    AutoField,
    BinaryField,
    CharField,
    Field,
    FloatField,
    ForeignKey,
    IntegerField,
    Model,
    TextField,
)

from groupcommit.raw import execute, execute_raw, make_instance

# SQLite's limit is 32,766 values a statement. https://www.sqlite.org/limits.html
MOST_VALUES = 30_000
# What the drivers take as it is, by the kind of field.
PLAIN = {CharField: str, TextField: str, IntegerField: int, FloatField: float}
# JSON that needs no decoder: most of a job's is empty.
EMPTY: dict[Any, type] = {"{}": dict, "[]": list}


class Column(NamedTuple):
    """A field of a model, and the type of its values that the driver takes as they are."""

    field: "Field[Any, Any]"
    name: str
    plain: type | None

    @classmethod
    def of(cls, field: "Field[Any, Any]") -> "Column":
        target = field.target_field if isinstance(field, ForeignKey) else field
        plain = next((kind for base, kind in PLAIN.items() if isinstance(target, base)), None)
        return cls(field, field.attname, plain)

    def prepare(self, value: Any, connection: Any) -> Any:
        """What the driver takes for a value that is neither plain nor None."""
        kind = type(value)
        if kind in {dict, list} and not value:
            return empty_json(self.field, kind)
        if kind is datetime and value.tzinfo is UTC:
            return value if connection.vendor == "postgresql" else str(value.replace(tzinfo=None))
        return self.field.get_db_prep_save(value, connection)


@functools.cache
def columns_of(model: type[Model]) -> list[Column]:
    """The columns that fill a new row of a model, in order."""
    fields = model._meta.concrete_fields
    return [Column.of(field) for field in fields if not isinstance(field, AutoField)]


@functools.lru_cache
def insert_sql(model: type[Model], vendor: str, rows: int, key: str, also: str, notify: str) -> str:
    """The INSERT of so many rows, with what PostgreSQL does besides, in the driver's own form."""
    meta, quote = model._meta, connection.ops.quote_name
    names = [quote(str(column.field.column)) for column in columns_of(model)]
    sql = f"INSERT INTO {quote(meta.db_table)} ({', '.join(names)}) VALUES "
    sql += places(rows, len(names), "%s" if vendor == "postgresql" else "?")
    keys = f"{key}, {meta.pk.column}"
    if also and vendor == "postgresql":
        kept = (field for field in meta.concrete_fields if not isinstance(field, BinaryField))
        sql += f" ON CONFLICT DO NOTHING RETURNING {', '.join(quote(str(f.column)) for f in kept)}"
        sql = f"WITH stored AS ({sql}), more AS ({also} stored ORDER BY {meta.pk.column})"
        keys += f", pg_notify('{notify}', '')" if notify else ""
        return f"{sql} SELECT {keys} FROM stored"
    return sql + (f" ON CONFLICT DO NOTHING RETURNING {keys}" if key else "")


def insert_all(
    rows: Sequence[Model], key: str = "", also: str = "", notify: str = ""
) -> dict[Any, Any]:
    """Store new rows in one statement.

    With `key`, a unique field: rows whose unique values are taken already are left out, and
    the answer is {value of that field: primary key} of those that were stored. With `also`, SQL
    that ends in FROM, other rows are made of these (not of their binary columns), and PostgreSQL's
    channel `notify` is told. There, it is all one statement: 500 small jobs a second, not 430.
    """
    if not rows:
        return {}
    for row in rows:
        row._state.adding = False
    columns = len(rows[0]._meta.concrete_fields)
    if len(rows) > (at_once := MOST_VALUES // columns):
        parts = (rows[start : start + at_once] for start in range(0, len(rows), at_once))
        return {k: v for part in parts for k, v in insert_all(part, key, also, notify).items()}
    # The connection itself: the proxy would be asked who it stands for at every value.
    connection, model = connections[DEFAULT_DB_ALIAS], type(rows[0])
    sql = insert_sql(model, connection.vendor, len(rows), key, also, notify)
    with connection.wrap_database_errors:
        cursor = execute_raw(connection, sql, values_of(rows, connection))
        stored = {row[0]: row[1] for row in cursor.fetchall()} if key else {}
        if also and stored and connection.vendor == "sqlite":  # whose WITH cannot write
            pk, keys = model._meta.pk.column, places(1, len(stored), "?")
            which = f"{model._meta.db_table} WHERE {pk} IN {keys} ORDER BY {pk}"
            execute_raw(connection, f"{also} {which}", list(stored.values()))
    return stored


def values_of(rows: Sequence[Model], connection: Any) -> list[Any]:
    """The values of new rows, one row after the other, as the driver takes them.

    Most are plain text or numbers, or empty JSON. Asking Django's fields for these as well takes
    0.35 ms for a job, its message and an event; this takes 0.07.
    """
    values: list[Any] = []
    for row in rows:
        attributes = row.__dict__
        for column in columns_of(type(row)):
            value = attributes[column.name]
            if value is not None and type(value) is not column.plain:
                value = column.prepare(value, connection)
            values.append(value)
    return values


def rows_for_update[M: Model](model: type[M], keys: Sequence[Any]) -> dict[Any, M]:
    """Read rows by their primary keys, {key: instance}. In a transaction, nobody else can change
    them before it ends.

    For one job, `select_for_update().in_bulk(…)` takes 0.65 ms, nearly all of it for the SQL; this
    takes 0.08.
    """
    if not keys:
        return {}
    connection = connections[DEFAULT_DB_ALIAS]
    names, converters = readers(model, connection.vendor)
    found = {}
    with connection.wrap_database_errors:
        sql = select_sql(model, connection.vendor, len(keys))
        if connection.vendor == "postgresql" and connection.in_atomic_block:
            sql += " FOR UPDATE"  # on SQLite, every writer has the lock
        cursor = execute_raw(connection, sql, keys)
        for row in cursor.fetchall():
            values = list(row)
            for place, column, convert in converters:
                if (value := values[place]) is not None:
                    empty = EMPTY.get(value)
                    values[place] = empty() if empty else convert(value, column, connection)
            instance = make_instance(model, names, values)
            found[instance.pk] = instance
    return found


@functools.lru_cache
def select_sql(model: type[Model], vendor: str, rows: int) -> str:
    """The SELECT of so many rows, in the driver's own form."""
    meta, quote = model._meta, connection.ops.quote_name
    names = ", ".join(quote(str(field.column)) for field in meta.concrete_fields)
    key = quote(str(meta.pk.column))
    keys = places(1, rows, "%s" if vendor == "postgresql" else "?")
    return f"SELECT {names} FROM {quote(meta.db_table)} WHERE {key} IN {keys} ORDER BY {key}"


@functools.cache
def readers(model: type[Model], vendor: str) -> tuple[list[str], list[tuple[int, Any, Any]]]:
    """A model's attributes in the order of its columns, and Django's converters of their values.

    Plain text and numbers have none.
    """
    fields, connection = model._meta.concrete_fields, connections[DEFAULT_DB_ALIAS]
    converters = []
    for place, field in enumerate(fields):
        column = field.cached_col
        own = [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)]
        converters += [(place, column, convert) for convert in own]
    return [field.attname for field in fields], converters


@functools.cache
def empty_json(field: "Field[Any, Any]", kind: type) -> Any:
    """An empty object or list as a field saves it."""
    return field.get_db_prep_save(kind(), connections[DEFAULT_DB_ALIAS])


def places(rows: int, columns: int, place: str = "%s") -> str:
    """`(%s, %s), (%s, %s)` for two rows of two columns."""
    row = "(" + ", ".join([place] * columns) + ")"
    return ", ".join([row] * rows)


def update_all(sql: str, rows: Sequence[Sequence[Any]]) -> int:
    """Run an UPDATE … FROM {rows} for many rows at once; how many it has changed.

    `{rows}` in the SQL becomes the rows' VALUES; name their columns in a WITH clause.
    """
    with connection.cursor() as cursor:
        cursor.execute(*for_rows(sql, rows))
        if connection.vendor == "sqlite":  # whose driver does not count WITH … UPDATE
            cursor.execute("SELECT changes()")
            return int(cursor.fetchone()[0])
        return int(cursor.rowcount)


def update_returning(sql: str, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """The same for an UPDATE with RETURNING; what that gives, in no particular order."""
    return execute(*for_rows(sql, rows))


def for_rows(sql: str, rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
    """SQL with places for the values of rows, and these values."""
    values = f"VALUES {places(len(rows), len(rows[0]))}"
    return sql.replace("{rows}", values), [value for row in rows for value in row]


def one_by_one(write: Any) -> Any:
    """Make a write over a list from a function of one argument, for the rare ones."""

    @functools.wraps(write)
    def over_list(arguments: list[Any]) -> list[Any]:
        return [write(argument) for argument in arguments]

    return over_list
