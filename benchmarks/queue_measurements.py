"""The measurements of benchmarks/queue.py, each a table.

A message is published, claimed, delivered to the sink and settled; here are the clocks along
its way. Targets are those of the README; a figure is what this run has seen.
"""

import argparse
import asyncio
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import uvloop

from benchmarks import queue_client
from benchmarks.queue_client import Connection, Published
from benchmarks.queue_house import Builder, Figure, House, Inside, percentile, show

HELD_SECONDS = 5.0
HELD_OVERHEAD_SECONDS = 0.5


def measure_publishing(builder: Builder, options: argparse.Namespace) -> list[Figure]:
    """Messages a second that become durable; nobody delivers them."""
    count = options.messages
    with builder.house() as house:
        inside = house.inside()
        house.site.start_web()
        many = uvloop.run(queue_client.publish(house, count, 64))
        one = uvloop.run(queue_client.publish(house, count // 5, 1))
        at_once = Published(**inside.ask("publish_at_once", url=house.sink, count=count))
        loop = Published(**inside.ask("publish_in_loop", url=house.sink, count=count // 5))
    return [
        Figure("over HTTP, 64 connections", many.per_second, "/s"),
        Figure("over HTTP, 1 connection", one.per_second, "/s"),
        Figure("in process, 500 coroutines", at_once.per_second, "/s"),
        Figure("in process, a plain loop", loop.per_second, "/s"),
    ]


def measure_end_to_end(builder: Builder, options: argparse.Namespace) -> list[Figure]:
    """From the first publish to the last DELIVERED that has been committed."""
    count = options.messages
    target = 1000 if options.database == "sqlite" else None
    with builder.house() as house:
        inside = house.inside()
        house.site.start_web()
        house.start_dispatcher()
        published = Published(**inside.ask("publish_at_once", url=house.sink, count=count))
        in_process = count / (until_settled(house, count) - published.first)
        published = uvloop.run(queue_client.publish(house, count, 64))
        over_http = count / (until_settled(house, 2 * count) - published.first)
    with builder.house(RUN_DISPATCHER="1", WEB_CONCURRENCY="2") as house:
        house.site.start_web()
        published = uvloop.run(queue_client.publish(house, count, 64))
        in_production = count / (until_settled(house, count) - published.first)
    return [
        Figure("published in process, one dispatcher", in_process, "/s", target),
        Figure("published over HTTP, one dispatcher", over_http, "/s"),
        Figure("published over HTTP, gunicorn's two workers", in_production, "/s"),
    ]


def until_settled(house: House, count: int) -> float:
    """Wait for the last message; the moment."""
    house.until_delivered(count, seconds=60 + count / 100)
    return time.time()


def measure_latency(builder: Builder, options: argparse.Namespace) -> list[Figure]:
    """One message at a time on an idle server."""
    with builder.house(RUN_DISPATCHER="1") as house:
        house.site.start_web()
        house.until_dispatching(1)
        answered, settled = uvloop.run(publish_singly(house, options.singles))
    return [
        Figure("publish call answered, p50", percentile(answered, 50), "ms"),
        Figure("publish call answered, p95", percentile(answered, 95), "ms"),
        Figure("publish call to settled, p50", percentile(settled, 50), "ms", 8),
        Figure("publish call to settled, p95", percentile(settled, 95), "ms", 15),
    ]


async def publish_singly(house: House, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds from each publish to its answer, and to the message being settled."""
    connection = await Connection().open(house)
    answered, settled = [], []
    for number in range(count + 10):
        began = time.perf_counter()
        message_id = await connection.publish()
        answer = time.perf_counter()
        while not house.watcher.is_delivered(message_id):
            time.sleep(0.0003)
        if number >= 10:  # the first ones open files and connections
            answered.append(1000 * (answer - began))
            settled.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(random.uniform(0.02, 0.06))  # noqa: S311
    return answered, settled


def measure_growth(builder: Builder, options: argparse.Namespace) -> list[Figure]:
    """The same steps on small and on large tables, in turns, so that noise hits both."""
    with builder.house() as small_house, builder.house() as large_house:
        small, large, url = small_house.inside(), large_house.inside(), small_house.sink
        small.ask("fill_tables", url=url, delivered=400, waiting=0)
        large.ask("fill_tables", url=url, delivered=options.delivered, waiting=options.waiting)
        figures = []
        for name, (task, arguments) in {
            "claim of 1": ("time_claims", {"url": url, "rounds": 10, "size": 1}),
            "claim of 100": ("time_claims", {"url": url, "rounds": 2, "size": 100}),
            "publish": ("time_publishing", {"url": url, "rounds": 20}),
            "newest page of /v2/events": ("time_events", {"rounds": 3}),
            "claim of 100, all that waits due": (
                "time_claims",
                {"url": url, "rounds": 2, "size": 100, "days_ahead": 31},
            ),
        }.items():
            medians = in_turns(small, large, task, arguments, options.turns)
            figures += [
                Figure(f"{name}: small tables", medians[0], "ms"),
                Figure(f"{name}: large tables", medians[1], "ms"),
                Figure(f"{name}: large to small", medians[1] / medians[0], "", 1.3),
            ]
    return figures


def in_turns(
    small: Inside, large: Inside, task: str, arguments: dict, turns: int
) -> tuple[float, float]:
    """The median duration on either, after a turn that does not count."""
    durations: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for house, found in zip((small, large), durations, strict=True):
            milliseconds = house.ask(task, **arguments)
            found += milliseconds if turn else []
    return statistics.median(durations[0]), statistics.median(durations[1])


def measure_memory(builder: Builder, options: argparse.Namespace) -> list[Figure]:
    """What the dispatcher's process takes while it works through a long backlog."""
    count = options.deliveries
    with builder.house() as house:
        house.inside().ask("publish_at_once", url=house.sink, count=count)
        process = house.start_dispatcher()
        with sampled(lambda: psutil.Process(process.pid).memory_info().rss / 1e6) as samples:
            began = time.time()
            quarters = []
            for quarter in range(1, 5):
                begin = len(samples)
                until_settled(house, quarter * count // 4)
                quarters.append(statistics.mean(samples[begin:]))
            rate = count / (time.time() - began)
    return [
        Figure("deliveries of a backlog", rate, "/s"),
        *(Figure(f"memory in quarter {n}", mb, "MB") for n, mb in enumerate(quarters, start=1)),
        Figure("last quarter to first", quarters[-1] / quarters[0], "", 1.1),
    ]


@contextmanager
def sampled(look: Callable[[], float]) -> Iterator[list[float]]:
    """A list that grows by a figure ten times a second."""
    samples, stop = [look()], threading.Event()

    def sample() -> None:
        while not stop.wait(0.1):
            samples.append(look())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def measure_held(builder: Builder, options: argparse.Namespace) -> list[Figure]:
    """Deliveries that a slow destination holds open all at once, until all are settled."""
    target = options.hold + HELD_OVERHEAD_SECONDS
    figures = []
    with builder.house(held_seconds=options.hold) as house:
        inside = house.inside()
        for dispatchers in (1, 2):
            house.start_dispatcher()
            published = inside.ask("publish_together", url=house.sink, count=options.held)
            took = until_settled(house, dispatchers * options.held) - published["last"]
            figures.append(
                Figure(f"until all settled, dispatchers: {dispatchers}", took, "s", target)
            )
    return figures


MEASUREMENTS = {
    "publish": ("Publishing {messages:,} messages", measure_publishing),
    "end-to-end": ("{messages:,} messages, publish to settled", measure_end_to_end),
    "latency": ("One message at a time, idle, {singles} times", measure_latency),
    "growth": ("{delivered:,} delivered and {waiting:,} waiting messages", measure_growth),
    "memory": ("The dispatcher over {deliveries:,} deliveries", measure_memory),
    "held": ("{held:,} deliveries held open for {hold:g} s at once", measure_held),
}


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast the embedded queue is.")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="everything, with small numbers")
    parser.add_argument("--messages", type=int, default=5000, help="publish, end-to-end")
    parser.add_argument("--singles", type=int, default=200, help="latency")
    parser.add_argument("--delivered", type=int, default=1_000_000, help="growth")
    parser.add_argument("--waiting", type=int, default=100_000, help="growth")
    parser.add_argument("--turns", type=int, default=20, help="growth")
    parser.add_argument("--deliveries", type=int, default=100_000, help="memory")
    parser.add_argument("--held", type=int, default=1000, help="held")
    options = parser.parse_args()
    options.hold = HELD_SECONDS
    if options.quick:
        options.messages, options.singles, options.deliveries = 300, 10, 1000
        options.delivered, options.waiting, options.turns = 10_000, 1000, 1
        options.held, options.hold = 50, 0.3
    return options


def main() -> None:
    options = read_options()
    began = time.time()
    with Builder(options.database) as builder:
        for name in options.only or MEASUREMENTS:
            title, measure = MEASUREMENTS[name]
            figures = measure(builder, options)
            show(title.format(**vars(options)), figures, options.database)
    print(f"\nall of it took {time.time() - began:.0f} s")
