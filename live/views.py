"""Tell an open page what has changed since it was rendered.

No message passes here. A page names a URL of changes and its version; the view there returns
the parts that have changed, as htmx's out-of-band swaps: as a stream of events where the server
is asynchronous, otherwise to a page that asks again and again.
https://htmx.org/attributes/hx-swap-oob/
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from live.pages import Changes, News, OpenPage
from live.streams import EVENT_STREAM, streams

__all__ = ["News", "live"]

type Topics = Callable[..., list[str]]
type View = Callable[..., Coroutine[Any, Any, HttpResponse]]


def live(topics: Topics) -> Callable[[Changes], View]:
    """Make a view of changes from a function `(request, since, **captured) -> News | None`.

    `since` is the page's version. The view answers 204 if there is no news. `topics` gets the
    same request and says what has to change for there to be news, such as `["jobs:<owner>"]`.
    A page that asks for a stream and gets 204 has to poll.
    """

    def decorator(changes: Changes) -> View:
        @never_cache
        @require_GET
        @wraps(changes)
        async def view(request: HttpRequest, **captured: Any) -> HttpResponse:
            page = OpenPage(request, changes, captured)
            if EVENT_STREAM in request.headers.get("Accept", ""):
                if streams.have_room_for(request):
                    return await streams.answer(page, topics(request, **captured))
                return HttpResponse(status=204)
            news = await page.news()
            if news is None:
                return HttpResponse(status=204)
            return HttpResponse(news.html, headers={"Live-Version": news.version})

        return view

    return decorator
