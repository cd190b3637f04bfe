"""What the queue's pages ask of a queue: one interface, with two implementations.

No message passes here. embedded.py reads and changes our own database, hosted.py asks QStash's
REST API. Messages, dead letters, queues, keys, schedules and URL groups are the JSON objects
of QStash's API in both, so that the pages show them alike.
https://upstash.com/docs/qstash/api-reference
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from console.filters import STATES, Filters

type Json = dict[str, Any]

PAGE = 50
# What a count stops at.
MOST_COUNTED = 1000
# How the states of QStash's log are shown.
SHOWN_STATES = {
    "CREATED": "queued",
    "ACTIVE": "running",
    "IN_PROGRESS": "running",
    "RETRY": "waiting",
    "ERROR": "waiting",
    "DELIVERED": "succeeded",
    "FAILED": "failed",
    "CANCEL_REQUESTED": "running",
    "CANCELED": "cancelled",
    "CANCELLED": "cancelled",
}


class Problem(Exception):
    """The queue cannot be asked, or refuses; the text is for the visitor."""

    def __init__(self, words: str, status: int = 502) -> None:
        super().__init__(words)
        self.status = status


class Row(NamedTuple):
    """A message in a list. `at` is in unix ms; `mark` changes whenever the row does, `key` never;
    it is "" where the queue cannot be asked again and again.
    """

    message_id: str
    url: str
    method: str
    state: str
    at: int
    labels: list[str]
    queue: str
    schedule: str
    group: str
    attempts: int | None
    key: str = ""
    mark: str = ""


class Listing(NamedTuple):
    """A page of a list. `cursor` begins the next one, "" if there is none; with `cut`, the search
    ended there although the page is not full.
    """

    rows: list[Any]
    cursor: str = ""
    cut: bool = False


class Count(NamedTuple):
    """How many there are; with `more`, at least as many."""

    number: int
    more: bool = False

    def __str__(self) -> str:
        return f"{self.number:,}{'+' if self.more else ''}"


class Detail(NamedTuple):
    """A message, its log (oldest line first) and its dead letter, as QStash's API has them.

    `state` is one of QStash's. `message` is None where only the log is left. `claims` are
    those that its signature has; None if the queue does not tell.
    """

    message: Json | None
    state: str
    log: list[Json]
    letter: Json | None = None
    claims: Json | None = None
    cut: bool = False


class QueuePages(ABC):
    """A queue as the pages need it. `states` are those that it tells apart, and `missing` says
    for a page what it does not tell.

    Every method may raise `Problem`.
    """

    name: str
    states: tuple[str, ...] = STATES
    missing: dict[str, str] = {}

    @abstractmethod
    async def messages(self, filters: Filters, cursor: str = "") -> Listing:
        """A page of messages as `Row`s, newest first."""

    @abstractmethod
    async def counts(self, filters: Filters) -> dict[str, Count] | None:
        """How many messages match but for their state: by state, and all as ""."""

    async def rows(self, keys: list[str]) -> list[Row]:
        """Some messages by the keys of their rows, in no order."""
        return []

    @abstractmethod
    async def message(self, message_id: str) -> Detail | None:
        """All that is known of a message; None if there is none."""

    @abstractmethod
    async def cancel(self, message_id: str) -> int:
        """Cancel a message; how many were cancelled."""

    @abstractmethod
    async def letters(self, filters: Filters, cursor: str = "") -> Listing:
        """A page of dead letters, newest first."""

    async def letters_left(self, dlq_ids: list[str]) -> set[str]:
        """Those of some dead letters that are still there."""
        return set()

    @abstractmethod
    async def count_letters(self, filters: Filters) -> Count | None:
        """How many dead letters match."""

    @abstractmethod
    async def take_letters(self, verb: str, dlq_ids: list[str]) -> int:
        """`retry` or `delete` some dead letters; how many there were."""

    @abstractmethod
    async def take_all_letters(self, verb: str, filters: Filters) -> tuple[int, bool]:
        """The same for all that match, up to a limit: how many, and whether there are more."""

    @abstractmethod
    async def queues(self, cursor: str = "") -> Listing:
        """A page of queues."""

    @abstractmethod
    async def keys(self, cursor: str = "") -> Listing:
        """A page of flow control keys."""

    @abstractmethod
    async def schedules(self, cursor: str = "") -> Listing:
        """A page of schedules."""

    @abstractmethod
    async def url_groups(self, cursor: str = "") -> Listing:
        """A page of URL groups."""

    @abstractmethod
    async def change(self, what: str, verb: str, name: str) -> None:
        """`pause`, `resume` or `delete` a `queue`, `key`, `schedule` or `group`."""
