"""What all of the queue's pages have in common: which queue, who may see it, what goes wrong.

No message passes here. A view gets what it shows from the queue's pages and renders it in a
thread, as formatting a large body takes a while.
"""

import re
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from broker.api.lookups import read
from broker.errors import Rejected
from console.access import for_operator
from console.embedded import EmbeddedPages
from console.hosted import HostedPages
from console.interface import Problem, QueuePages

DONE = re.compile("(cancelled|retried|deleted|paused|resumed)-([0-9]{1,9})([+]?)")

type View = Callable[..., Coroutine[Any, Any, HttpResponse]]


def queue_pages() -> QueuePages:
    """The queue that carries this site's messages."""
    return HostedPages() if settings.QSTASH_TOKEN else EmbeddedPages()


def page(view: View) -> View:
    """Make a page for the operator of a view that may raise Problem or Rejected."""

    @for_operator
    @wraps(view)
    async def wrapper(request: HttpRequest, **captured: Any) -> HttpResponse:
        try:
            return await view(request, **captured)
        except Rejected as refusal:
            return await problem(request, str(refusal), refusal.status)
        except Problem as error:
            return await problem(request, str(error), error.status)

    return wrapper


async def problem(request: HttpRequest, words: str, status: int) -> HttpResponse:
    return await show(request, "console/problem.html", {"problem": words}, status)


async def show(
    request: HttpRequest, template: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """Render a page of the queue, in a thread."""
    pages = queue_pages()
    everywhere = {
        "queue_name": pages.name,
        "missing": pages.missing,
        "embedded": isinstance(pages, EmbeddedPages),
        "done": what_was_done(request),
        "locked": not settings.CONSOLE_OPEN,
    }
    return await read(lambda: render(request, template, everywhere | context, status=status))


def what_was_done(request: HttpRequest) -> str:
    """What a button has done, from the address to which it has led: `?done=cancelled-1`."""
    if not (found := DONE.fullmatch(request.GET.get("done", ""))):
        return ""
    verb, number, more = found.groups()
    words = f"{int(number):,} {verb}."
    return f"{words} There are more: do it again." if more else words


def done(address: str, verb: str, number: int = 1, more: bool = False) -> HttpResponse:
    """Lead to a page that says what was done."""
    sign = "&" if "?" in address else "?"
    plus = "%2B" if more else ""
    return HttpResponse(
        status=303, headers={"Location": f"{address}{sign}done={verb}-{number}{plus}"}
    )
