"""Filters: which messages a query or a JSON body chooses, as conditions on rows.

They choose messages, lines of the log and dead letters. The values of one filter are
alternatives; different filters must all match.
https://upstash.com/docs/qstash/api-reference/messages/bulk-cancel-messages
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from django.db.models import Q, Value
from django.db.models.functions import StrIndex
from django.db.models.lookups import GreaterThan

from broker.api.requests import Call
from broker.errors import Rejected
from broker.options import CONTROL_CHARACTER, quoted

# Every value, by the name of its filter.
type Selectors = Mapping[str, list[str]]

COLUMNS = {
    "messageId": "message_id",
    "url": "url",
    "topicName": "url_group",
    "queueName": "queue_name",
    "scheduleId": "schedule_id",
    "flowControlKey": "flow_control_key",
    "host": "host",
    "path": "path",
    "callerIp": "caller_ip",
    "callerIP": "caller_ip",
}
DATES = ("fromDate", "toDate")
# Filters whose values may contain commas, and where a list of such values is split.
COMMA = re.compile(",")
COMMAS = {
    "url": re.compile(",(?=https?://)"),
    "path": re.compile(",(?=/)"),
    "flowControlKey": COMMA,
}
# How many values, and how many conditions, a database takes in one statement.
MOST_IDS = 10_000
MOST_VALUES = 100


def read_selectors(call: Call) -> Selectors:
    """The selectors of a query and of a JSON body; the body overrides the query.

    Values in the body are texts, whole numbers, or lists of those. An empty list, which a
    query cannot express, selects nothing.
    """
    body = call.json()
    if body is None:
        return call.query
    if not isinstance(body, dict):
        raise Rejected("the body must be an object of filters")
    return call.query | {name: as_texts(name, value) for name, value in body.items()}


def as_texts(name: str, value: Any) -> list[str]:
    found = value if isinstance(value, list) else [value]
    if any(isinstance(one, bool) or not isinstance(one, str | int) for one in found):
        raise Rejected(f"{name[:100]!r} must be a text, a whole number or a list of those")
    return [str(one) for one in found]


def check_known(selectors: Iterable[str], known: Collection[str]) -> None:
    """Reject a selector that is not known here, so that it does not select everything."""
    for name in selectors:
        if name not in known:
            raise Rejected(f"unknown filter {name[:100]!r}, known are {', '.join(known)}")


def values(selectors: Selectors, name: str) -> list[str]:
    """The values of one selector: repeated, or separated by commas, or both.

    Where a comma may be part of a value, both the whole and its parts are looked for.
    """
    given = selectors[name]
    found = [part for value in given for part in COMMAS.get(name, COMMA).split(value)]
    if name in COMMAS:
        found = list(dict.fromkeys([*given, *found]))
    most = MOST_IDS if name.endswith(("Id", "Ids")) else MOST_VALUES
    if len(found) > most:
        raise Rejected(f"{name}: more than {most} values")
    if any(CONTROL_CHARACTER.search(value) for value in found):
        raise Rejected(f"{name} holds a character that no {name} may hold")
    found = [value for value in map(str.strip, found) if value]
    if name == "host":  # as it is stored
        found = [value.lower() for value in found]
    if given and not found:
        raise Rejected(f"{name} must not be empty")
    return found


def only(selectors: Selectors, name: str) -> str:
    """The value of a selector that can have only one; "" if it is not given."""
    given = selectors.get(name, [])
    if len(given) > 1:
        raise Rejected(f"{name} must be given once")
    return given[0] if given else ""


def number(text: str, name: str) -> int:
    """A whole number as a database can hold it."""
    if not re.fullmatch("[0-9]{1,18}", text):
        raise Rejected(f"{name} must be a whole number, not {text[:100]!r}")
    return int(text)


def numbers(selectors: Selectors, name: str) -> list[int]:
    return [number(value, name) for value in values(selectors, name)]


def message_condition(selectors: Selectors, prefix: str = "") -> Q:
    """The condition that selectors put on a message, whose columns begin with `prefix`."""
    condition = Q()
    for name, column in COLUMNS.items():
        if name in selectors:
            wanted = values(selectors, name)
            if name in {"url", "path"}:  # stored as they are sent
                wanted = [quoted(value) for value in wanted]
            condition &= Q(**{f"{prefix}{column}__in": wanted})
    if "label" in selectors:
        condition &= labelled(values(selectors, "label"), f"{prefix}labels")
    return condition


def labelled(labels: list[str], column: str) -> Q:
    """Whether a row has one of the labels, in the same case."""
    condition = Q(pk__in=[])
    for label in labels:
        condition |= Q(GreaterThan(StrIndex(column, Value(f",{label},")), 0))
    return condition


def date_condition(selectors: Selectors, column: str) -> Q:
    """Whether a row's moment lies between `fromDate` and `toDate`, both inclusive, unix ms."""
    condition = Q()
    for name, comparison in zip(DATES, ("gte", "lte"), strict=True):
        if name in selectors:
            moment = number(only(selectors, name), name)
            condition &= Q(**{f"{column}__{comparison}": moment})
    return condition
