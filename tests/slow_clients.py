"""Slow and greedy clients against a real gunicorn: `uv run python -m tests.slow_clients`.

While some clients hold connections, send a byte a second or bodies of 16 MiB, an ordinary visitor
asks for the home page. The table shows how long that takes, and what the server holds. The limit
is 250 ms for 95 of 100 pages; a miss ends the command with 1. The greedy clients run in a process
of their own: `--attack` is that process.
"""

# ruff: noqa: T201  (the table is what this command is for)

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import requests

from broker.open_files import allow_many
from harness.processes import Site, exit_on_sigterm, site, start_process

MOST_SECONDS = 0.25
LEAST_PAGES = 3
HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Padding: "
POST = b"POST /catcher/slow/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
LARGEST = 16 * 2**20
CHUNK = bytes(64 * 1024)

type Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def drip_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await drip(writer, HEAD)


async def drip_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await drip(writer, POST % 10_000)


async def drip(writer: asyncio.StreamWriter, first: bytes) -> None:
    """Send the beginning, then a byte a second until the server has had enough."""
    writer.write(first)
    while True:
        await writer.drain()
        await asyncio.sleep(1)
        writer.write(b"x")


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def fill(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send the largest body that is accepted, as fast as it is taken."""
    writer.write(POST % LARGEST)
    for _ in range(LARGEST // len(CHUNK)):
        writer.write(CHUNK)
        await writer.drain()
    await reader.readuntil(b"\r\n\r\n")


# What each kind does, and how many there are of it.
KINDS: dict[str, tuple[Client, int]] = {
    "heads, a byte a second": (drip_head, 200),
    "bodies, a byte a second": (drip_body, 200),
    "idle connections": (hold, 2000),
    "bodies of 16 MiB": (fill, 8),
}


async def attack(port: int, kind: str, count: int) -> None:
    """Keep so many clients of a kind busy; each that is closed comes again a second later."""
    client, connected = KINDS[kind][0], 0

    async def come_again() -> None:
        nonlocal connected
        while True:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                connected += 1
                if connected == count:
                    print("ready", flush=True)
                try:
                    await client(reader, writer)
                finally:
                    writer.close()
            await asyncio.sleep(1)

    await asyncio.gather(*(come_again() for _ in range(count)))


@contextmanager
def attacked(running: Site, kind: str, count: int) -> Iterator[None]:
    """A site while so many clients of a kind are connected to it."""
    arguments = ["--attack", kind, "--port", str(running.port), "--count", str(count)]
    command = ["-m", "tests.slow_clients", *arguments]
    with start_process(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


class Figures(NamedTuple):
    """How long a page took, in seconds, and the most that a worker held meanwhile."""

    pages: int
    median: float
    p95: float
    longest: float
    megabytes: float
    files: int


def measure(running: Site, seconds: float) -> Figures:
    """Ask for the home page as a new visitor, ten times a second and at least three times."""
    workers = psutil.Process(running.processes[-1].pid).children()
    times, held = [], [(0.0, 0)]
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(times) < LEAST_PAGES:
        started = time.monotonic()
        assert requests.get(running.url, timeout=30).status_code == 200
        times.append(time.monotonic() - started)
        held += [(worker.memory_info().rss / 2**20, worker.num_fds()) for worker in workers]
        time.sleep(0.1)
    times.sort()
    at = [times[int(len(times) * part)] for part in (0.5, 0.95)]
    memory, files = (max(column) for column in zip(*held, strict=True))
    return Figures(len(times), *at, times[-1], memory, int(files))


def main() -> None:
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="for each kind of clients")
    parser.add_argument("--attack", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    allow_many()
    if given.attack:
        asyncio.run(attack(given.port, given.attack, given.count))
        return
    missed = []
    print("| clients | pages | median | p95 | longest | a worker's memory | and open files |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder, site(Path(folder)) as running:
        running.start_web(WEB_CONCURRENCY="2")
        for kind, (_, count) in ({"none": (hold, 0)} | KINDS).items():
            show(kind, count, running, given.seconds, missed)
    if missed:
        print(f"\nmore than {1000 * MOST_SECONDS:.0f} ms at the 95th percentile: {missed}")
        sys.exit(1)


def show(kind: str, count: int, running: Site, seconds: float, missed: list[str]) -> None:
    """Measure beside one kind of clients, and print a row of the table."""
    if count:
        with attacked(running, kind, count):
            figures = measure(running, seconds)
    else:
        figures = measure(running, seconds)
    times = [f"{1000 * value:.0f} ms" for value in figures[1:4]]
    held = [f"{figures.megabytes:.0f} MB", f"{figures.files:,}"]
    name = f"{count:,} {kind}" if count else kind
    print("|", " | ".join([name, str(figures.pages), *times, *held]), "|", flush=True)
    if figures.p95 > MOST_SECONDS:
        missed.append(kind)


if __name__ == "__main__":
    main()
