"""Filters of the lists: read from a page's address, given to a queue, written into links.

No message passes here. A filter means what it means in `/v2/`: values are compared as a whole,
commas separate alternatives. Of a URL the embedded queue needs only a part, and the moments are
written for people, as UTC without a zone.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from broker.api.filters import values
from broker.errors import Rejected

# The fields of the form, by their names in `/v2/`.
FIELDS = {"url": "URL", "label": "Label", "queueName": "Queue", "scheduleId": "Schedule"}
DATES = {"from": "fromDate", "to": "toDate"}
STATES = ("scheduled", "queued", "running", "waiting", "succeeded", "failed", "cancelled")
LONGEST = 8000
FURTHEST = datetime(9000, 1, 1, tzinfo=UTC)


class Filters(NamedTuple):
    """A state of the pages ("" for any), the selectors of `/v2/`, and what the form holds."""

    state: str
    selectors: dict[str, list[str]]
    given: dict[str, str]

    @property
    def any(self) -> bool:
        """Whether anything but the state is asked for."""
        return bool(self.selectors)

    def query(self, **changes: str) -> str:
        """The query of a link to the same list, with some parameters changed."""
        wanted = {"state": self.state} | self.given | changes
        return urlencode({name: value for name, value in wanted.items() if value})


def read_filters(query: Mapping[str, str]) -> Filters:
    """Read a page's query; Rejected if it asks for what cannot be."""
    state = query.get("state", "")
    if state and state not in STATES:
        raise Rejected(f"there is no state {state[:40]!r}: choose one of {', '.join(STATES)}")
    given = {name: query.get(name, "").strip() for name in (*FIELDS, *DATES)}
    given = {name: value for name, value in given.items() if value}
    if sum(map(len, given.values())) > LONGEST:
        raise Rejected(f"the filters are longer than {LONGEST:,} characters")
    selectors = {name: [given[name]] for name in FIELDS if name in given}
    for name in selectors:
        values(selectors, name)
    for name, selector in DATES.items():
        if name in given:
            selectors[selector] = [str(read_moment(given[name], last=name == "to"))]
    return Filters(state, selectors, given)


def read_moment(text: str, last: bool) -> int:
    """A moment in unix ms. A text without seconds is a whole minute, `last` its last ms."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Rejected(
            f"a moment is written 2026-11-25T10:30, in UTC, not {text[:40]!r}"
        ) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not datetime(1970, 1, 1, tzinfo=UTC) <= moment < FURTHEST:
        raise Rejected("a moment must be of the years 1970 to 9000")
    if last:
        unit = (
            timedelta(minutes=1) if len(text) <= len("2026-11-25T10:30") else timedelta(seconds=1)
        )
        moment += unit - timedelta(milliseconds=1)
    return int(moment.timestamp() * 1000)
