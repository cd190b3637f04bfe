"""Who knows what has changed: sources of changes, and parts that are on every page.

No message passes here. An app registers, when it is ready, a function that reads from the
database what has changed since its last look; `reader.py` calls all of them. This app imports
none of theirs.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, NamedTuple

type Read = Callable[[Any], tuple[Any, set[str]]]


class Source(NamedTuple):
    """A function to ask, and how often."""

    read: Read
    every_seconds: float = 0


class Part(NamedTuple):
    """Something that is on every page, whatever the page is about.

    `version()` says how it looks now, `render()` is its element with `hx-swap-oob`. The element
    on the page has the version in `data-live-part`.
    """

    topic: str
    version: Callable[[], Awaitable[str]]
    render: Callable[[], str]


sources: list[Source] = []
parts: list[Part] = []
kinds: dict[str, Callable[[str], Part]] = {}


def register(read: Read, every_seconds: float = 0) -> None:
    """Ask `read(since)` for changes: after each commit, or else every so many seconds.

    It returns where to go on the next time, and the topics that have changed. At first `since`
    is None; then it only says where to begin. It makes queries, and is called in a thread.
    A transaction may commit later than another with a newer stamp or a larger id, so look back
    a little, and leave out what has been seen.
    """
    sources.append(Source(read, every_seconds))


def register_part(part: Part) -> None:
    """Keep a part of every page up to date. Some source names its topic when it changes."""
    parts.append(part)


def register_kind(kind: str, make: Callable[[str], Part]) -> None:
    """Keep parts up to date that only some pages have: `make(key)` for the part `<kind>/<key>`.

    The element has `<kind>/<key>:<version>` in `data-live-part`. Each page has a part of its own.
    """
    kinds[kind] = make


def parts_named(names: Iterable[str]) -> Iterator[tuple[str, Part]]:
    """Those of the parts that exist."""
    everywhere = {part.topic: part for part in parts}
    for name in names:
        kind, _, key = name.partition("/")
        if name in everywhere:
            yield name, everywhere[name]
        elif kind in kinds:
            yield name, kinds[kind](key)
