"""A target in a process of its own that costs next to nothing: it answers every POST with 200.

`GET /` tells what it has seen: {"requests": n, "first": {job id: unix seconds}}. A number of
seconds on the command line lets every POST wait that long for its answer.
"""

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from harness.processes import start_process

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
KEY = re.compile(rb"idempotency-key: *([0-9a-f]+)-\d+", re.IGNORECASE)
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@contextmanager
def running_sink(held_seconds: float = 0) -> Iterator[str]:
    """Run this file in a process; the sink's URL."""
    command = ["-m", "benchmarks.fast_sink", str(held_seconds)]
    sink = start_process(command, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{int(sink.stdout.readline())}/"
    finally:
        sink.kill()
        sink.communicate()


class Seen:
    """What has arrived."""

    def __init__(self) -> None:
        self.first: dict[str, float] = {}
        self.requests = 0

    def note(self, head: bytes) -> None:
        self.requests += 1
        if key := KEY.search(head):
            self.first.setdefault(key[1].decode(), time.time())

    def report(self) -> bytes:
        body = json.dumps({"requests": self.requests, "first": self.first}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Connection(asyncio.Protocol):
    """Just enough HTTP/1.1 for one client that we know."""

    def __init__(self, seen: Seen, held_seconds: float) -> None:
        self.seen, self.held_seconds = seen, held_seconds

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            length = LENGTH.search(head)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < total:
                return
            self.buffer = self.buffer[total:]
            self.answer(head)

    def answer(self, head: bytes) -> None:
        if head.startswith(b"GET"):
            self.transport.write(self.seen.report())
            return
        self.seen.note(head)
        if self.held_seconds:
            loop = asyncio.get_running_loop()
            loop.call_later(self.held_seconds, self.transport.write, ANSWER)
        else:
            self.transport.write(ANSWER)


async def main() -> None:
    seen, held_seconds = Seen(), float(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(seen, held_seconds), sock=listener, backlog=4096
    )
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
