"""Tell an open page what has changed since it was rendered.

No message passes here. A page names a URL of changes and its version; the view there returns
the parts that have changed, as htmx's out-of-band swaps, or nothing.
https://htmx.org/attributes/hx-swap-oob/
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET


class News(NamedTuple):
    """What has changed: elements with `hx-swap-oob`, and the version that the page then has."""

    html: str
    version: str


type Topics = Callable[..., list[str]]
type Changes = Callable[..., Coroutine[Any, Any, News | None]]
type View = Callable[..., Coroutine[Any, Any, HttpResponse]]


def live(topics: Topics) -> Callable[[Changes], View]:
    """Make a view of changes from a function `(request, since, **captured) -> News | None`.

    `since` is the page's version. The view answers 204 if there is no news. `topics` gets the
    same request and says what has to change for there to be news, such as `["jobs:<owner>"]`.
    """

    def decorator(changes: Changes) -> View:
        @never_cache
        @require_GET
        @wraps(changes)
        async def view(request: HttpRequest, **captured: Any) -> HttpResponse:
            news = await changes(request, request.GET.get("since", ""), **captured)
            if news is None:
                return HttpResponse(status=204)
            return HttpResponse(news.html, headers={"Live-Version": news.version})

        return view

    return decorator
