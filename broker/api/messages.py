"""`/v2/messages`: look a message up, or cancel one, or many.

The message waits, is being delivered, or is finished and not yet deleted. A cancelled message
can no longer be looked up; its log remains.
https://upstash.com/docs/qstash/api-reference/messages/get-a-message
"""

import re
from itertools import batched

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import JsonResponse

from broker.api.filters import (
    COLUMNS,
    DATES,
    Selectors,
    check_known,
    date_condition,
    message_condition,
    read_selectors,
    values,
)
from broker.api.lookups import read, show_one
from broker.api.pages import SELECTORS, read_count
from broker.api.requests import Call
from broker.api.shown import shown_message
from broker.cancelling import cancel_now
from broker.errors import NotFound
from broker.models import WAITING_STATES, Message, State
from groupcommit.writer import writer

KNOWN = [name for name in COLUMNS if name != "messageId"]
KNOWN += ["label", *DATES, "messageIds", *SELECTORS]
# The write lock is never held for more than this.
CANCELED_AT_ONCE = 500
MOST_COUNTED = 500


async def get_message(call: Call, message_id: str) -> JsonResponse:
    """Answer a message that has not been cancelled, or 404."""
    canceled = (State.CANCEL_REQUESTED, State.CANCELED)
    found = named(call.account, [message_id]).exclude(state__in=canceled)
    return await show_one(
        lambda: [shown_message(message) for message in found], f"message {message_id[:100]!r}"
    )


async def cancel_message(call: Call, message_id: str) -> JsonResponse:
    """Cancel one message; 404 if it is finished already."""
    ids = await read(lambda: keys(named(call.account, [message_id])))
    cancelled = await writer.write(cancel_now, ids) if ids else 0
    if not cancelled:
        raise NotFound(f"there is no message {message_id[:100]!r} to cancel")
    return JsonResponse({"cancelled": cancelled}, status=202)


async def cancel_messages(call: Call) -> JsonResponse:
    """Cancel all messages that match, or simply all; answer how many.

    They are chosen before the first is cancelled, so a busy publisher cannot keep this going
    for ever. https://upstash.com/docs/qstash/api-reference/messages/bulk-cancel-messages
    """
    selectors = read_selectors(call)
    check_known(selectors, KNOWN)
    limit = read_count(selectors, MOST_COUNTED, MOST_COUNTED) if "count" in selectors else None
    chosen = choose(call.account, selectors)
    ids = await read(lambda: keys(chosen))
    if limit and settings.BROKER_CANCEL_COUNTS:
        ids = ids[:limit]
    cancelled = 0
    for some in batched(ids, CANCELED_AT_ONCE, strict=False):
        cancelled += await writer.write(cancel_now, list(some))
    return JsonResponse({"cancelled": cancelled})


def choose(account: str, selectors: Selectors) -> QuerySet[Message]:
    """The messages that selectors choose; ids override all other selectors."""
    if "messageIds" in selectors:
        return named(account, values(selectors, "messageIds"))
    return Message.objects.filter(
        # An unfinished message is due some time or stands in a lane. There are indexes for both,
        # and SQLite uses the two together for this form of the condition.
        Q(due_at__gte=0) | Q(lane__gt=""),
        message_condition(selectors),
        date_condition(selectors, "created_at"),
        account=account,
        state__in=[*WAITING_STATES, State.ACTIVE],
    )


def named(account: str, message_ids: list[str]) -> QuerySet[Message]:
    """An account's messages by their ids; a text that cannot be an id matches none."""
    ids = [text for text in message_ids if re.fullmatch(r"[\w-]+", text)]
    return Message.objects.filter(account=account, message_id__in=ids)


def keys(messages: QuerySet[Message]) -> list[int]:
    """The primary keys of messages, the first accepted first."""
    return sorted(messages.values_list("id", flat=True))
