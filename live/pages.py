"""A page that is open in some browser: what it shows, and what is new for it.

No message passes here. The same question is asked by a page that polls, once, and by a page
with a stream, whenever something it watches has changed.
"""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from django.http import HttpRequest

from live.sources import parts, parts_named

MOST_PARTS = 10


class News(NamedTuple):
    """What has changed: elements with `hx-swap-oob`, and the version that the page then has."""

    html: str
    version: str


type Changes = Callable[..., Coroutine[Any, Any, News | None]]


class OpenPage:
    """What a page asks with: its version, and how the parts look that are on every page.

    A browser whose stream was cut asks again by itself, with the version of the last event in
    `Last-Event-ID`; the version in the URL is then an old one.
    """

    def __init__(self, request: HttpRequest, changes: Changes, captured: dict[str, Any]) -> None:
        self.request, self.changes, self.captured = request, changes, captured
        since = request.headers.get("Last-Event-ID") or request.GET.get("since", "")
        self.since = since if since.isascii() and since.isprintable() else ""
        shown = [part.partition(":") for part in request.GET.getlist("part")[:MOST_PARTS]]
        self.shown = {name: version for name, _, version in shown}
        self.parts = dict(parts_named(self.shown))

    @property
    def topics(self) -> list[str]:
        """What has to change for its parts to be looked at, or for everybody's."""
        return [part.topic for part in [*parts, *self.parts.values()]]

    async def news(self) -> News | None:
        """What has changed since the last time, or since the page's version."""
        news = await self.changes(self.request, self.since, **self.captured)
        html = await self.changed_parts()
        if news is None and not html:
            return None
        self.since = news.version if news else self.since
        return News((news.html if news else "") + html, self.since)

    async def changed_parts(self) -> str:
        html = ""
        for name, part in self.parts.items():
            version = await part.version()
            if version != self.shown[name]:
                self.shown[name] = version
                html += part.render()
        return html
