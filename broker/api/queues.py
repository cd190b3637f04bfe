"""`/v2/queues`: what a publisher may know and decide about its queues.

Messages stand in them, one behind the other; broker/queues.py makes the changes.
https://upstash.com/docs/qstash/features/queues
"""

from typing import Any

from django.db.models import Count
from django.http import JsonResponse

from broker import queues
from broker.api.requests import Call, read
from broker.changes import make
from broker.clock import now_ms
from broker.errors import NotFound, PublishError
from broker.models import Queue
from broker.options import LARGEST_INTEGER, checked_name
from broker.queues import Change


async def upsert_queue(call: Call) -> JsonResponse:
    """Create or change the queue `{"queueName", "parallelism", "paused"}`; what is not given
    stays as it is, in a new queue 1 and false.
    """
    body = call.json()
    if not isinstance(body, dict):
        raise PublishError("the body must be an object {queueName, parallelism, paused}")
    name, parallelism, paused = map(body.get, ("queueName", "parallelism", "paused"))
    if not isinstance(name, str):
        raise PublishError("queueName must be a text")
    if parallelism is not None and not is_count(parallelism):
        raise PublishError(f"parallelism must be a whole number from 1 to {LARGEST_INTEGER}")
    if paused is not None and not isinstance(paused, bool):
        raise PublishError("paused must be true or false")
    change = Change(call.account, checked_name(name, "queueName"), now_ms(), parallelism, paused)
    await make(queues.upsert, change)
    return JsonResponse({})


def is_count(value: Any) -> bool:
    """Whether JSON's value is a whole number that a limit can be; `true` is none."""
    return type(value) is int and 1 <= value <= LARGEST_INTEGER


async def list_queues(call: Call) -> JsonResponse:
    """Answer a list of queues, oldest first."""
    return JsonResponse(await read(lambda: shown(call.account)), safe=False)


async def show_queue(call: Call, name: str) -> JsonResponse:
    """Answer one queue."""
    name = checked_name(name, "queue name")
    found = await read(lambda: shown(call.account, name=name))
    if not found:
        raise NotFound(f"there is no queue {name!r}")
    return JsonResponse(found[0])


async def delete_queue(call: Call, name: str) -> JsonResponse:
    """Delete a queue, if there is one; its messages are still delivered."""
    await make(queues.delete, change_of(call, name))
    return JsonResponse({})


async def pause_queue(call: Call, name: str) -> JsonResponse:
    """Let no message of a queue start any more; those being delivered go on."""
    await make(queues.change_existing, change_of(call, name)._replace(paused=True))
    return JsonResponse({})


async def resume_queue(call: Call, name: str) -> JsonResponse:
    """Let them start again."""
    await make(queues.change_existing, change_of(call, name)._replace(paused=False))
    return JsonResponse({})


def change_of(call: Call, name: str) -> Change:
    return Change(call.account, checked_name(name, "queue name"), now_ms())


def shown(account: str, **which: str) -> list[dict[str, Any]]:
    """Queues as on the wire; `lag` is how many of their messages are not over."""
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
