"""The measurements of benchmarks/deliveries.py, each a table.

A message is published, claimed, delivered to the sink and settled; here are the clocks along
its way. A figure is what this run has seen; some have a limit, which the run may miss.
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

from benchmarks import deliveries_publisher as publisher
from benchmarks.deliveries_publisher import Connection, Published
from benchmarks.deliveries_site import DatabaseServer, DjangoProcess, QueueSite
from benchmarks.figures import Figure, percentile

HELD_SECONDS = 5.0
HELD_OVERHEAD_SECONDS = 0.3
# How long one message may take at all.
PATIENCE_SECONDS = 120


def measure_publishing(server: DatabaseServer, options: argparse.Namespace) -> list[Figure]:
    """Messages a second that become durable; nobody delivers them."""
    count = options.messages
    with server.site() as queue:
        django = queue.start_django()
        queue.site.start_web()
        many = uvloop.run(publisher.publish(queue, count, 64))
        one = uvloop.run(publisher.publish(queue, count // 5, 1))
        at_once = Published(**django.ask("publish_at_once", url=queue.sink, count=count))
        loop = Published(**django.ask("publish_in_loop", url=queue.sink, count=count // 5))
    return [
        Figure("over HTTP, 64 connections", many.per_second, "/s"),
        Figure("over HTTP, 1 connection", one.per_second, "/s"),
        Figure("in process, 500 coroutines", at_once.per_second, "/s"),
        Figure("in process, a plain loop", loop.per_second, "/s"),
    ]


def measure_end_to_end(server: DatabaseServer, options: argparse.Namespace) -> list[Figure]:
    """From the first publish to the last DELIVERED that has been committed."""
    count = options.messages
    limit = 1000 if options.database == "sqlite" else None
    with server.site() as queue:
        django = queue.start_django()
        queue.site.start_web()
        queue.start_dispatcher()
        published = Published(**django.ask("publish_at_once", url=queue.sink, count=count))
        in_process = count / (until_settled(queue, count) - published.first)
        published = uvloop.run(publisher.publish(queue, count, 64))
        over_http = count / (until_settled(queue, 2 * count) - published.first)
    with server.site(RUN_DISPATCHER="1", WEB_CONCURRENCY="2") as queue:
        queue.site.start_web()
        published = uvloop.run(publisher.publish(queue, count, 64))
        in_production = count / (until_settled(queue, count) - published.first)
    return [
        Figure("published in process, one dispatcher", in_process, "/s", limit),
        Figure("published over HTTP, one dispatcher", over_http, "/s"),
        Figure("published over HTTP, gunicorn's two workers", in_production, "/s"),
    ]


def until_settled(queue: QueueSite, count: int) -> float:
    """Wait for the last message; the moment."""
    queue.until_delivered(count, seconds=120 + count / 50)
    return time.time()


def measure_latency(server: DatabaseServer, options: argparse.Namespace) -> list[Figure]:
    """One message at a time on an idle server."""
    with server.site(RUN_DISPATCHER="1") as queue:
        queue.site.start_web()
        queue.until_dispatching(1)
        answered, settled = uvloop.run(publish_singly(queue, options.singles))
    return [
        Figure("publish call answered, p50", percentile(answered, 50), "ms"),
        Figure("publish call answered, p95", percentile(answered, 95), "ms"),
        Figure("publish call to settled, p50", percentile(settled, 50), "ms", 8),
        Figure("publish call to settled, p95", percentile(settled, 95), "ms", 15),
    ]


async def publish_singly(queue: QueueSite, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds from each publish to its answer, and to the message being settled."""
    connection = await Connection().open(queue)
    answered, settled = [], []
    for number in range(count + 10):
        began = time.perf_counter()
        message_id = await connection.publish()
        answer = time.perf_counter()
        while not queue.watcher.is_delivered(message_id):
            assert time.perf_counter() < answer + PATIENCE_SECONDS, f"{message_id} is not settled"
            time.sleep(0.0003)
        if number >= 10:  # the first ones open files and connections
            answered.append(1000 * (answer - began))
            settled.append(1000 * (time.perf_counter() - began))
        await asyncio.sleep(random.uniform(0.02, 0.06))  # noqa: S311
    return answered, settled


def measure_growth(server: DatabaseServer, options: argparse.Namespace) -> list[Figure]:
    """The same steps on small and on large tables, in turns, so that noise hits both."""
    with server.site() as small_site, server.site() as large_site:
        small, large, url = small_site.start_django(), large_site.start_django(), small_site.sink
        small.ask("fill_tables", url=url, delivered=400, waiting=0)
        large.ask("fill_tables", url=url, delivered=options.delivered, waiting=options.waiting)
        figures = []
        for name, (function, arguments) in {
            "claim of 1": ("time_claims", {"url": url, "rounds": 10, "size": 1}),
            "claim of 100": ("time_claims", {"url": url, "rounds": 2, "size": 100}),
            "publish": ("time_publishing", {"url": url, "rounds": 20}),
            "newest page of /v2/events": ("time_events", {"rounds": 3}),
            "claim of 100, all that waits due": (
                "time_claims",
                {"url": url, "rounds": 2, "size": 100, "days_ahead": 31},
            ),
        }.items():
            medians = in_turns(small, large, function, arguments, options.turns)
            figures += [
                Figure(f"{name}: small tables", medians[0], "ms"),
                Figure(f"{name}: large tables", medians[1], "ms"),
                Figure(f"{name}: large to small", medians[1] / medians[0], "", 1.3),
            ]
    return figures


def in_turns(
    small: DjangoProcess, large: DjangoProcess, function: str, arguments: dict, turns: int
) -> tuple[float, float]:
    """The median duration on either, after a turn that does not count."""
    durations: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for process, found in zip((small, large), durations, strict=True):
            milliseconds = process.ask(function, **arguments)
            found += milliseconds if turn else []
    return statistics.median(durations[0]), statistics.median(durations[1])


def measure_memory(server: DatabaseServer, options: argparse.Namespace) -> list[Figure]:
    """What the dispatcher's process takes while it works through a long backlog."""
    count = options.deliveries
    with server.site() as queue:
        queue.start_django().ask("publish_at_once", url=queue.sink, count=count)
        process = queue.start_dispatcher()
        with sampled(lambda: psutil.Process(process.pid).memory_info().rss / 1e6) as samples:
            began = time.time()
            quarters = []
            for quarter in range(1, 5):
                begin = len(samples) - 1
                until_settled(queue, quarter * count // 4)
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


def measure_held(server: DatabaseServer, options: argparse.Namespace) -> list[Figure]:
    """Deliveries that a slow destination holds open all at once, until all are settled."""
    limit = options.hold + HELD_OVERHEAD_SECONDS
    figures = []
    with server.site(held_seconds=options.hold) as queue:
        django = queue.start_django()
        for dispatchers in (1, 2):
            queue.start_dispatcher()
            published = django.ask("publish_together", url=queue.sink, count=options.held)
            took = until_settled(queue, dispatchers * options.held) - published["last"]
            figures.append(
                Figure(f"until all settled, dispatchers: {dispatchers}", took, "s", limit)
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
