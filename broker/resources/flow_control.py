"""Change a flow control key: its limits, whether messages may use them, the count of its window.

Messages wait in the key's lane and lanes.py lets them go; it looks again as soon as a change
here has committed. A key that nobody has used yet is created, so that it can be paused or
pinned before the first message comes.
"""

from typing import NamedTuple

from django.db.models import Count, QuerySet

from broker import wakeup
from broker.changes import refusable
from broker.models import FlowControl, Message
from groupcommit.statements import insert_all


class LimitsChange(NamedTuple):
    """Whose key, and the columns that change, at a moment in unix ms."""

    account: str
    key: str
    now: int
    values: dict[str, int]


class Standing(NamedTuple):
    """A key, how many messages wait for it, and how many are being delivered under it."""

    flow: FlowControl
    waiting: int
    running: int


@refusable
def change(wanted: LimitsChange) -> None:
    """Change a key, creating it if needed, and wake the dispatchers for its lane."""
    account, key, now, values = wanted
    insert_all([FlowControl(account=account, name=key, created_at=now)], key="id")
    found = FlowControl.objects.filter(account=account, name=key)
    found.update(**values, updated_at=now, due_at=now)
    wakeup.on_commit()


def pinned(parallelism: int | None, rate: int | None, period_seconds: int | None) -> dict[str, int]:
    """The columns that pin what is given; rate and period are pinned together and begin again."""
    values: dict[str, int] = {}
    if parallelism is not None:
        values |= {"parallelism": parallelism, "pinned_parallelism": True}
    if rate is not None:
        values["rate"] = rate
    if period_seconds is not None:
        values["period_seconds"] = period_seconds
    if rate is not None or period_seconds is not None:
        values |= {"pinned_rate": True, "window_count": 0, "window_started_at": 0}
    return values


def standings(flows: QuerySet[FlowControl]) -> list[Standing]:
    """How far some keys of one account are used."""
    found = list(flows)
    accounts, keys = {flow.account for flow in found}, [flow.name for flow in found]
    messages = Message.objects.filter(account__in=accounts)
    lanes_of = [flow.key for flow in found]
    waiting = counted(messages.filter(lane__in=lanes_of), "lane")
    running = counted(messages.filter(runs_in__in=keys), "runs_in")
    return [Standing(flow, waiting.get(flow.key, 0), running.get(flow.name, 0)) for flow in found]


def counted(messages: QuerySet[Message], column: str) -> dict[str, int]:
    """How many messages there are for each value of a column."""
    return dict(messages.values(column).annotate(count=Count("id")).values_list(column, "count"))
