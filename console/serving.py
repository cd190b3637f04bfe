"""What all of the queue's pages have in common: which queue, who may see it, what goes wrong.

No message passes here. A view gets what it shows from the queue's pages and renders it in a
thread, as formatting a large body takes a while.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from broker.api.lookups import read
from broker.errors import Rejected
from console.access import for_operator
from console.embedded import EmbeddedPages
from console.hosted import HostedPages
from console.interface import Problem, QueuePages

# For how long an address says what a button has done.
SAID_SECONDS = 300

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
            # What a page is asked for is a filter.
            heading = "" if request.method == "POST" else "No such filter"
            return await problem(request, str(refusal), refusal.status, heading)
        except Problem as error:
            return await problem(request, str(error), error.status)

    return wrapper


async def problem(request: HttpRequest, words: str, status: int, heading: str = "") -> HttpResponse:
    context = {"problem": words, "problem_heading": heading}
    return await show(request, "console/problem.html", context, status)


async def show(
    request: HttpRequest, template: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """Render a page of the queue, in a thread."""
    pages = queue_pages()
    everywhere = {
        "queue_name": pages.name,
        "missing": pages.missing,
        "embedded": isinstance(pages, EmbeddedPages),
        "done": what_was_said(request, "done"),
        "not_done": what_was_said(request, "not_done"),
        "locked": not settings.CONSOLE_OPEN,
    }
    return await read(lambda: render(request, template, everywhere | context, status=status))


def signer() -> signing.TimestampSigner:
    """Signs what an address says, so that nobody else can make a page say something."""
    return signing.TimestampSigner(salt="console.said")


def what_was_said(request: HttpRequest, name: str) -> str:
    """What a button has done, or why not, from the address to which it has led."""
    try:
        return signer().unsign(request.GET.get(name, ""), max_age=SAID_SECONDS)
    except signing.BadSignature:
        return ""


def done(address: str, words: str, name: str = "done") -> HttpResponse:
    """Lead to a page that says what was done."""
    sign = "&" if "?" in address else "?"
    said = urlencode({name: signer().sign(words)})
    return HttpResponse(status=303, headers={"Location": f"{address}{sign}{said}"})


def not_done(address: str, words: str) -> HttpResponse:
    """Lead to a page that says why nothing was done."""
    return done(address, words, "not_done")
