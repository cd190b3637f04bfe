"""Questions about what is stored: how each GET reads the database and answers what it found.

No message is changed here. Every resource says what it looks for and how that is shown.
"""

from collections.abc import Callable, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import JsonResponse

from broker.errors import NotFound

type Json = dict[str, Any]


async def read[T](look: Callable[[], T]) -> T:
    """Query the database in a thread and over a connection of the query's own.

    A filter that has to search far keeps nobody else waiting.
    """

    def look_and_close() -> T:
        try:
            return look()
        finally:
            connections.close_all()

    return await sync_to_async(look_and_close, thread_sensitive=False)()


async def show_all(look: Callable[[], Sequence[Json]]) -> JsonResponse:
    """Answer a list of whatever there is."""
    return JsonResponse(await read(look), safe=False)


async def show_one(look: Callable[[], Sequence[Json]], what: str) -> JsonResponse:
    """Answer the one thing that is found; NotFound, naming `what`, if there is none."""
    if not (found := await read(look)):
        raise NotFound(f"there is no {what}")
    return JsonResponse(found[0])
