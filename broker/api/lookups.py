"""How a GET reads the database and answers what it finds.

No message is changed here. Each resource says what to look for and how to show it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.http import JsonResponse

from broker.errors import NotFound

type Json = dict[str, Any]


async def read[T](look: Callable[[], T]) -> T:
    """Query the database in a thread and with a connection of its own.

    So a slow filter keeps no other request waiting.
    """

    def look_and_close() -> T:
        try:
            return look()
        finally:
            connections.close_all()

    return await sync_to_async(look_and_close, thread_sensitive=False)()


async def show_all(look: Callable[[], Sequence[Json]]) -> JsonResponse:
    """Answer everything that is found, as a list."""
    return JsonResponse(await read(look), safe=False)


async def show_one(look: Callable[[], Sequence[Json]], what: str) -> JsonResponse:
    """Answer the one thing that is found; NotFound, naming `what`, if there is none."""
    if not (found := await read(look)):
        raise NotFound(f"there is no {what}")
    return JsonResponse(found[0])
