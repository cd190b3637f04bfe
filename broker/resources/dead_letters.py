"""Delete dead letters, or publish their messages again.

No attempt could deliver the message, and somebody has decided what happens to it. A retry
makes a new message with the options and body of the old one, and publishing.py stores it; the
old one keeps its log until it is deleted. If two take a letter, one of them gets it.
https://upstash.com/docs/qstash/features/dlq
"""

from typing import Any, NamedTuple

from django.db import connection

from broker import lanes
from broker.models import Message
from broker.options import Options, read_fields
from broker.publishing import Receipt, store
from groupcommit.statements import one_by_one, places

# What a new message copies from the old one: all but its state and its deduplication key.
KEPT = (
    "account", "body", "callback", "callback_header", "caller_ip", "endpoint_name",
    "failure_callback", "failure_callback_header", "flow_control", "flow_control_key", "header",
    "host", "labels", "max_retries", "method", "path", "queue_name", "redacted",
    "retry_delay_expression", "schedule_id", "timeout_seconds", "url", "url_group",
)  # fmt: skip
# The field that each option of a retry request sets.
CHANGED_BY = {
    "upstash-method": "method",
    "upstash-retries": "max_retries",
    "upstash-retry-delay": "retry_delay_expression",
    "upstash-timeout": "timeout_seconds",
    "upstash-delay": "not_before",
    "upstash-not-before": "not_before",
    "upstash-label": "labels",
    "upstash-redact-fields": "redacted",
}


class Taking(NamedTuple):
    """The letters to take, by primary key; `changes` and `now` (unix ms) are for a retry."""

    account: str
    letters: list[int]
    changes: dict[str, Any]
    now: int


@lanes.locked
@one_by_one
def delete(taking: Taking) -> int:
    """Delete dead letters; return how many there were."""
    return len(take(taking))


@lanes.locked
@one_by_one
def retry(taking: Taking) -> list[Receipt]:
    """Publish the messages of dead letters again and remove the letters, oldest first.

    Letters that have been taken already are left out.
    """
    taken = take(taking)
    messages = Message.objects.in_bulk(taken)
    retries = [again(messages[key], taking.changes, taking.now) for key in taken]
    return store(retries, by_queue=True)


def take(taking: Taking) -> list[int]:
    """Remove letters; return the primary keys of the messages whose letters were still there."""
    if not taking.letters:  # PostgreSQL has no empty lists in its SQL
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM broker_deadletter WHERE id IN {places(1, len(taking.letters))}"
            " AND account = %s RETURNING id, message_id",
            [*taking.letters, taking.account],
        )
        return [message for _, message in sorted(cursor.fetchall())]


def again(message: Message, changes: dict[str, Any], now: int) -> Message:
    """A new, unsaved message with the options and body of an old one."""
    fields = {name: getattr(message, name) for name in KEPT} | {"not_before": now} | changes
    fields["header"] = message.header | fields["header"]
    return Message(**fields, created_at=now, due_at=fields["not_before"])


def read_changes(options: Options, now: int) -> dict[str, Any]:
    """What the options of a retry's request change; Rejected if one is wrong.

    Content-Type and deduplication id are ignored: the first is that of the list of letters,
    and the second would drop all but one of many messages.
    """
    options = {name: given for name, given in options.items() if name.startswith("upstash-")}
    fields = read_fields("http://any.test/", options, now)
    changes = {field: fields[field] for option, field in CHANGED_BY.items() if option in options}
    for name in ("callback", "failure_callback"):
        if fields[name]:
            changes |= {name: fields[name], f"{name}_header": fields[f"{name}_header"]}
    for name in ("header", "flow_control_key", "flow_control"):
        if fields.get(name):
            changes[name] = fields[name]
    return changes
