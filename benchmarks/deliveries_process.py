"""The benchmark's own Django process: `[function, arguments]` on stdin, its answer on stdout.

Messages are published here without HTTP, and steps of a message's way are taken one by one
with a clock beside them. Answers are JSON, times are unix seconds, durations milliseconds.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import django

django.setup()

from django.conf import settings
from django.test import Client

from benchmarks.deliveries_filling import fill
from broker.clock import now_ms
from broker.delivery import Outcome
from broker.dispatcher import Dispatcher
from broker.ids import new_message_id
from broker.models import Message
from broker.publishing import publish, read_message, store
from groupcommit.writer import writer

# After a batch the writer rests for a while: see groupcommit/writer.py.
WRITERS_REST_SECONDS = 0.06
runner = asyncio.Runner()


def new_message(url: str, delay: str = "0s") -> Message:
    headers = {"Content-Type": "application/json", "Upstash-Delay": delay}
    return read_message(url, headers, b'{"hello":"world"}')


def publish_in_loop(url: str, count: int) -> dict[str, float]:
    """A plain loop, one commit a message."""
    first = time.time()
    for _ in range(count):
        publish(new_message(url))
    return {"first": first, "last": time.time(), "count": count}


def publish_at_once(url: str, count: int, coroutines: int = 500) -> dict[str, float]:
    """As many coroutines as would serve requests, which share their commits."""

    async def publish_many(left: list[None]) -> None:
        while left:
            left.pop()
            await writer.write(store, new_message(url))

    async def publish_all() -> None:
        left = [None] * count
        await asyncio.gather(*(publish_many(left) for _ in range(min(coroutines, count))))

    first = time.time()
    runner.run(publish_all())
    return {"first": first, "last": time.time(), "count": count}


def publish_together(url: str, count: int) -> dict[str, float]:
    """All in one transaction; `last` is the moment after its commit."""
    first = time.time()
    messages = [new_message(url) for _ in range(count)]
    writer.submit(lambda lists: [store(each) for each in lists], messages).result()
    return {"first": first, "last": time.time(), "count": count}


async def accepted(*_: Any) -> Outcome:
    """An attempt that needs no destination."""
    return Outcome(200, {}, b"", "")


def time_claims(url: str, rounds: int, size: int, days_ahead: int = 0) -> list[float]:
    """Publish `size` messages and claim as many, again and again.

    To a dispatcher whose clock is days ahead all that waits is a backlog.
    """

    def clock() -> int:
        return now_ms() + days_ahead * 24 * 3600 * 1000

    async def claims() -> list[float]:
        dispatcher = Dispatcher(accepted, clock=clock)
        durations = []
        for _ in range(rounds):
            await asyncio.gather(*(writer.write(store, new_message(url)) for _ in range(size)))
            await asyncio.sleep(WRITERS_REST_SECONDS if size > 1 else 0)
            began = time.perf_counter()
            claimed, _ = await dispatcher.claim()
            durations.append(1000 * (time.perf_counter() - began))
            assert len(claimed) == size, f"claimed {len(claimed)} of {size}"
            await asyncio.gather(*dispatcher.in_flight.values())
        await dispatcher.close()
        return durations

    return runner.run(claims())


def time_publishing(url: str, rounds: int) -> list[float]:
    """Publish one message after another, each with its own commit; nobody claims them."""
    durations = []
    for _ in range(rounds):
        message = new_message(url, delay="30d")
        began = time.perf_counter()
        publish(message)
        durations.append(1000 * (time.perf_counter() - began))
    return durations


def time_events(rounds: int) -> list[float]:
    """Ask for the newest page of the log, the largest there is."""
    client = Client(headers={"Authorization": f"Bearer {settings.BROKER_TOKEN}"})
    durations = []
    for _ in range(rounds):
        began = time.perf_counter()
        answer = client.get("/v2/events?count=1000", SERVER_NAME="127.0.0.1")
        durations.append(1000 * (time.perf_counter() - began))
        assert len(answer.json()["events"]) == 1000, answer.content[:1000]
    return durations


def fill_tables(url: str, delivered: int, waiting: int) -> dict[str, int]:
    """Copies of a message that was delivered, and of one that waits; see deliveries_filling.py."""
    done, later = new_message(url), new_message(url, delay="30d")
    publish(done)
    runner.run(Dispatcher(accepted).run_once())
    publish(later)
    fill(done, delivered, new_message_id)
    fill(later, waiting, new_message_id)
    return {"messages": Message.objects.count()}


FUNCTIONS: list[Callable[..., Any]] = [
    publish_in_loop,
    publish_at_once,
    publish_together,
    time_claims,
    time_publishing,
    time_events,
    fill_tables,
]


def main() -> None:
    by_name = {function.__name__: function for function in FUNCTIONS}
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(by_name[name](**arguments)), flush=True)


if __name__ == "__main__":
    main()
