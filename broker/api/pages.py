"""Pages of a long list: how much is answered at once, and where the next page begins.

Log lines and dead letters are listed in the order of their keys, so a page costs the same
wherever it begins. A cursor is `<unix ms>-<key>` of the last row listed, as in QStash.
"""

import re
from typing import Any, NamedTuple

from django.db.models import Model, QuerySet
from django.db.models.functions import Length

from broker.api.filters import Selectors, number, only
from broker.errors import Rejected

SELECTORS = ("cursor", "count")
CURSOR = re.compile("([0-9]{1,18})-([0-9]{1,18})")
# Bytes of stored bodies. A page with more of them ends early.
LARGEST_PAGE = 8 * 1024 * 1024


class Place(NamedTuple):
    """How many rows a page may have, and after which key it begins."""

    length: int
    after: int | None = None
    oldest_first: bool = False


class Page(NamedTuple):
    """The keys of a page's rows in order, and where the next page begins, if there is one."""

    keys: list[int]
    cursor: str | None

    @property
    def next(self) -> dict[str, str]:
        """What an answer says about the next page: nothing if there is none."""
        return {"cursor": self.cursor} if self.cursor else {}

    def rows[M: Model](self, rows: QuerySet[M]) -> list[M]:
        """The page's rows in order, except those that have been deleted since."""
        found = rows.in_bulk(self.keys)
        return [found[key] for key in self.keys if key in found]


def read_place(selectors: Selectors, default: int, most: int) -> Place:
    """The place that `cursor` and `count` ask for; `most` is the limit."""
    count = read_count(selectors, default, most)
    if not (cursor := only(selectors, "cursor")):
        return Place(count)
    if not (pair := read_pair(cursor)):
        raise Rejected(f"cursor must be one of an earlier answer, not {cursor[:100]!r}")
    return Place(count, pair[1])


def read_count(selectors: Selectors, default: int, most: int) -> int:
    if "count" not in selectors:
        return default
    count = number(only(selectors, "count"), "count")
    if not count:
        raise Rejected("count must be at least 1")
    return min(count, most)


def read_pair(text: str) -> tuple[int, int] | None:
    """The parts of `<unix ms>-<key>`; None for any other text."""
    match = CURSOR.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def read_page(rows: QuerySet[Any], moment: str, place: Place, room: float = LARGEST_PAGE) -> Page:
    """Find a page's rows, which have a `response_body` and a `message`, by their keys.

    `room` is for their bodies, in bytes; a single row may need more.
    """
    if place.after is not None:
        comparison = "gt" if place.oldest_first else "lt"
        rows = rows.filter(**{f"id__{comparison}": place.after})
    rows = rows.order_by("id" if place.oldest_first else "-id")
    size = Length("response_body") + Length("message__body")
    keys: list[int] = []
    cursor = None
    for key, at, bytes_needed in rows.values_list("id", moment, size)[: place.length + 1]:
        room -= bytes_needed
        if keys and (len(keys) == place.length or room < 0):
            return Page(keys, cursor)
        keys.append(key)
        cursor = f"{at}-{key}"
    return Page(keys, None)
