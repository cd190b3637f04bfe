"""Dead letters are taken out: deleted for good, or their messages published anew.

No attempt could deliver the message, and somebody has decided what is to become of it. A retry
makes a new message of what the old one was published with, which publishing.py stores; the
old one keeps its log until it is forgotten. Of two who take a letter, one gets it.
https://upstash.com/docs/qstash/features/dlq
"""

from typing import Any, NamedTuple

from django.db import connection

from broker import lanes
from broker.models import Message
from broker.options import Options, read_fields
from broker.publishing import Receipt, store
from groupcommit.statements import one_by_one, places

# What a new message takes over from the old one: all but its state and its deduplication key.
KEPT = (
    "account", "body", "callback", "callback_header", "caller_ip", "endpoint_name",
    "failure_callback", "failure_callback_header", "flow_control", "flow_control_key", "header",
    "host", "labels", "max_retries", "method", "path", "queue_name", "redacted",
    "retry_delay_expression", "schedule_id", "timeout_seconds", "url", "url_group",
)  # fmt: skip
# The field that an option of the retry's own request sets.
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
    """Somebody takes letters, by primary key; `changes` and `now` (unix ms) are for a retry."""

    account: str
    letters: list[int]
    changes: dict[str, Any]
    now: int


@lanes.locked
@one_by_one
def delete(taking: Taking) -> int:
    """Delete dead letters; how many of them there were."""
    return len(take(taking))


@lanes.locked
@one_by_one
def retry(taking: Taking) -> list[Receipt]:
    """Publish the messages of dead letters anew and remove the letters, oldest first.

    Letters that are gone are left out.
    """
    taken = take(taking)
    messages = Message.objects.in_bulk(taken)
    return store([again(messages[key], taking.changes, taking.now) for key in taken])


def take(taking: Taking) -> list[int]:
    """Remove letters; the messages of those that were still there, by primary key."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM broker_deadletter WHERE id IN {places(1, len(taking.letters))}"
            " AND account = %s RETURNING id, message_id",
            [*taking.letters, taking.account],
        )
        return [message for _, message in sorted(cursor.fetchall())]


def again(message: Message, changes: dict[str, Any], now: int) -> Message:
    """A new message, unsaved, with what an old one was published with."""
    fields = {name: getattr(message, name) for name in KEPT} | {"not_before": now} | changes
    fields["header"] = message.header | fields["header"]
    return Message(**fields, created_at=now, due_at=fields["not_before"])


def read_changes(options: Options, now: int) -> dict[str, Any]:
    """What the options of a retry's request change; PublishError if one is wrong.

    Its Content-Type is that of a list of letters, and one deduplication id for many messages
    would lose all but one of them: both change nothing.
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
