"""How quick the queue's pages are with a full database: `uv run benchmarks/console_pages.py`.

A database of this run's own is filled with a million messages that were delivered, a thousand
that wait, and a few that failed. Then each page is asked for, again and again, by one process
without a web server; every request opens a connection of its own, as in production.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benchmarks.figures import Figure, show, show_missed
from benchmarks.own_database import own_database

# The page, and the most that it may take in ms.
PAGES = {
    "messages": ("messages", 250),
    "messages, from half way on": ("messages?cursor={cursor}", 250),
    "messages, failed (3 of them)": ("messages?state=failed", 250),
    "messages, scheduled": ("messages?state=scheduled", 250),
    "messages, queued": ("messages?state=queued", 250),
    "messages, a label that three have": ("messages?label=rare", 250),
    "messages, a queue that has none": ("messages?queueName=none", 250),
    "messages, a part of a URL that none has": ("messages?url=none.test", 500),
    "messages, a part of every URL": ("messages?url=.test/", 500),
    "news for an open page": ("messages/changes?since=1-queued0", 250),
    "one message": ("messages/{message}", 250),
    "dead letters": ("dead-letters", 250),
    "queues and flow control": ("queues", 250),
}


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=15)
    return parser.parse_args()


def fill_database(count: int) -> dict[str, str]:
    """Fill the tables; the id of one message, and a cursor half way down the list."""
    import asyncio

    from benchmarks.deliveries_filling import APART_MS, fill
    from broker.delivery import Outcome
    from broker.dispatcher import Dispatcher
    from broker.ids import new_message_id
    from broker.publishing import publish, read_message

    def new(url: str, **options: str):
        return read_message(url, {"Content-Type": "application/json"} | options, b'{"a":"b"}')

    async def deliver(status: int) -> None:
        async def answer(*_: object) -> Outcome:
            return Outcome(status, {}, b"answer", "" if status == 200 else f"HTTP {status}")

        dispatcher = Dispatcher(answer)
        await dispatcher.run_once()
        await dispatcher.close()

    for _ in range(3):
        publish(new("http://failed.test/", **{"Upstash-Retries": "0", "Upstash-Label": "rare"}))
        asyncio.run(deliver(500))
    done, later = new("http://done.test/"), new("http://later.test/", **{"Upstash-Delay": "30d"})
    publish(done)
    asyncio.run(deliver(200))
    publish(later)
    fill(done, count, new_message_id)
    fill(later, max(1, count // 1000), new_message_id)
    half_way = done.created_at - APART_MS * count // 2
    return {"message": done.message_id, "cursor": f"{half_way}-0"}


def milliseconds(ask: Callable[[], object], turns: int) -> list[float]:
    durations = []
    for _ in range(turns):
        began = time.perf_counter()
        ask()
        durations.append(1000 * (time.perf_counter() - began))
    return durations


def measure(options: argparse.Namespace) -> list[Figure]:
    from django.test import Client

    parts = fill_database(options.messages)
    client = Client(headers={"host": "127.0.0.1"})
    figures = []
    for name, (path, limit) in PAGES.items():
        address = f"/queue/{path.format(**parts)}"
        assert client.get(address).status_code == 200, address
        durations = milliseconds(lambda address=address: client.get(address), options.turns)
        figures.append(Figure(f"{name}, median", statistics.median(durations), "ms", limit))
    return figures


def main() -> None:
    options = read_options()
    with own_database(DEBUG="1", CONSOLE_PASSWORD="") as kind:
        from django.conf import settings

        settings.DEBUG = False  # which notes every query
        settings.ALLOWED_HOSTS.append("testserver")
        figures = measure(options)
        show(f"Pages with {options.messages:,} messages", figures, kind)
        show_missed(figures)


if __name__ == "__main__":
    main()
