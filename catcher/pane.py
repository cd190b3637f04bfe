"""The newest requests of a bin, one line each, on a page that shows them beside its own.

A job's request has arrived in its bin. Such a page needs to know nothing of the catcher but the
name of the part, `caught/<bin>`: live/ brings the lines with the page's other news.
"""

from asgiref.sync import sync_to_async
from django.template.loader import render_to_string

from catcher.models import Entry
from live.sources import Part

NEWEST = 10


class Pane:
    """The newest ten entries of a bin, newest first, as they were when the version was asked."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[Entry] = []

    async def version(self) -> str:
        self.entries = await sync_to_async(self.read)()
        return str(self.entries[0].pk if self.entries else 0)

    def read(self) -> list[Entry]:
        return list(Entry.objects.bin(self.name).defer("body", "headers")[:NEWEST])

    def render(self) -> str:
        context = {"name": self.name, "entries": self.entries}
        return render_to_string("catcher/pane.html", context)


def pane_of(name: str) -> Part:
    """The part of an open page that shows a bin's newest requests."""
    pane = Pane(name)
    return Part(f"bin:{name}", pane.version, pane.render)
