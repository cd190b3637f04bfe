"""`/v2/queues`: list, create, change and delete queues.

Messages wait in them, one behind the other; broker/resources/queues.py makes the changes.
https://upstash.com/docs/qstash/features/queues
"""

from typing import Any

from django.db.models import Count
from django.http import JsonResponse

from broker.api.lookups import show_all, show_one
from broker.api.requests import Call
from broker.changes import make
from broker.clock import now_ms
from broker.errors import Rejected
from broker.models import Queue
from broker.options import LARGEST_INTEGER, checked_name
from broker.resources import queues
from broker.resources.queues import QueueChange


async def upsert_queue(call: Call) -> JsonResponse:
    """Create or change the queue `{"queueName", "parallelism", "paused"}`. What is not given
    stays as it is; in a new queue it is 1 and false.
    """
    body = call.json()
    if not isinstance(body, dict):
        raise Rejected("the body must be an object {queueName, parallelism, paused}")
    name, parallelism, paused = map(body.get, ("queueName", "parallelism", "paused"))
    if not isinstance(name, str):
        raise Rejected("queueName must be a text")
    if parallelism is not None and not is_count(parallelism):
        raise Rejected(f"parallelism must be a whole number from 1 to {LARGEST_INTEGER}")
    if paused is not None and not isinstance(paused, bool):
        raise Rejected("paused must be true or false")
    change = QueueChange(
        call.account, checked_name(name, "queueName"), now_ms(), parallelism, paused
    )
    await make(queues.upsert, change)
    return JsonResponse({})


def is_count(value: Any) -> bool:
    """Whether a JSON value is a whole number that a limit can have; `true` is not."""
    return type(value) is int and 1 <= value <= LARGEST_INTEGER


async def list_queues(call: Call) -> JsonResponse:
    """Answer a list of queues, oldest first."""
    return await show_all(lambda: shown(call.account))


async def show_queue(call: Call, name: str) -> JsonResponse:
    """Answer one queue."""
    name = checked_name(name, "queue name")
    return await show_one(lambda: shown(call.account, name=name), f"queue {name!r}")


async def delete_queue(call: Call, name: str) -> JsonResponse:
    """Delete a queue, if there is one; its messages are still delivered."""
    await make(queues.delete, change_of(call, name))
    return JsonResponse({})


async def pause_queue(call: Call, name: str) -> JsonResponse:
    """Start no more messages of a queue; those being delivered go on."""
    await make(queues.change_existing, change_of(call, name)._replace(paused=True))
    return JsonResponse({})


async def resume_queue(call: Call, name: str) -> JsonResponse:
    """Start messages of a queue again."""
    await make(queues.change_existing, change_of(call, name)._replace(paused=False))
    return JsonResponse({})


def change_of(call: Call, name: str) -> QueueChange:
    return QueueChange(call.account, checked_name(name, "queue name"), now_ms())


def shown(account: str, **which: str) -> list[dict[str, Any]]:
    """Queues as JSON; `lag` is how many of their messages are not finished."""
    found = list(queues.visible(account).filter(**which))
    waiting = queues.unfinished(account).filter(queue_name__in=[queue.name for queue in found])
    counted = waiting.values("queue_name").annotate(lag=Count("id"))
    lags = dict(counted.values_list("queue_name", "lag"))
    return [as_json(queue, lags.get(queue.name, 0)) for queue in found]


def as_json(queue: Queue, lag: int) -> dict[str, Any]:
    return {
        "name": queue.name,
        "parallelism": queue.parallelism,
        "createdAt": queue.created_at,
        "updatedAt": queue.updated_at,
        "lag": lag,
        "paused": queue.paused,
    }
