"""A publisher over HTTP that costs little: keep-alive connections, one request built once.

The message is made here, sent to `/v2/publish/`, and counted when its id comes back.
"""

import asyncio
import re
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.deliveries_site import TOKEN, QueueSite

MESSAGE_ID = re.compile(rb'"messageId": ?"(msg_\w+)"')
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Published(NamedTuple):
    """How it went: unix seconds of the first request and of the last answer."""

    first: float
    last: float
    count: int

    @property
    def per_second(self) -> float:
        return self.count / (self.last - self.first)


class Connection:
    """A connection to the site that publishes one message after another."""

    async def open(self, queue: QueueSite) -> "Connection":
        server = urlsplit(queue.site.url)
        self.reader, self.writer = await asyncio.open_connection(server.hostname, server.port)
        body = b'{"hello":"world"}'
        self.request = (
            f"POST /v2/publish/{queue.sink} HTTP/1.1\r\nHost: {server.netloc}\r\n"
            f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        return self

    async def publish(self) -> str:
        """Publish a message; its id."""
        self.writer.write(self.request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        if length := LENGTH.search(head):
            body = await self.reader.readexactly(int(length[1]))
        else:  # in chunks
            body = await self.reader.readuntil(b"\r\n0\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 20"), head + body
        return MESSAGE_ID.search(body)[1].decode()

    async def publish_many(self, left: list[None]) -> None:
        """Publish for as long as there is something left in a list shared with others."""
        while left:
            left.pop()
            await self.publish()


async def publish(queue: QueueSite, count: int, connections: int) -> Published:
    """Publish `count` messages over so many connections at once."""
    opened = [await Connection().open(queue) for _ in range(connections)]
    left = [None] * count
    first = time.time()
    await asyncio.gather(*(connection.publish_many(left) for connection in opened))
    last = time.time()
    for connection in opened:
        connection.writer.close()
    return Published(first, last, count)
