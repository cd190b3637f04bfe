"""Reading for a GET: what is found is answered, and the connection that found it is closed."""

import json

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections

from broker.api.lookups import read, show_all, show_one
from broker.errors import NotFound


async def test_one_thing_is_answered_by_itself():
    assert json.loads((await show_one(lambda: [{"name": "a"}], "queue 'a'")).content) == {
        "name": "a"
    }


async def test_error_names_what_is_missing():
    with pytest.raises(NotFound, match="^there is no queue 'a'$"):
        await show_one(list, "queue 'a'")


async def test_empty_list_is_an_answer():
    assert (await show_all(list)).content == b"[]"


@pytest.mark.django_db(transaction=True)
async def test_connection_of_a_query_is_closed():
    def look():
        connection.ensure_connection()
        return connections[DEFAULT_DB_ALIAS], connection.connection is not None

    own, was_open = await read(look)
    assert was_open
    assert own.connection is None  # closed, or given back to PostgreSQL's pool
