"""A target that costs next to nothing: answers every POST with 200 and notes when it came.

`GET /` tells what it has seen: {"requests": n, "first": {job id: unix seconds}}. A number of
seconds on the command line lets every POST wait that long for its answer.
"""

import asyncio
import json
import re
import socket
import sys
import time

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
KEY = re.compile(rb"idempotency-key: *([0-9a-f]+)-\d+", re.IGNORECASE)
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)

first: dict[str, float] = {}
requests = 0
wait_seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0


class Sink(asyncio.Protocol):
    """Just enough HTTP/1.1 for one client that we know."""

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        global requests
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            length = LENGTH.search(head)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < total:
                return
            self.buffer = self.buffer[total:]
            if head.startswith(b"GET"):
                report = json.dumps({"requests": requests, "first": first}).encode()
                self.transport.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(report), report)
                )
            else:
                requests += 1
                if key := KEY.search(head):
                    first.setdefault(key[1].decode(), time.time())
                if wait_seconds:
                    loop = asyncio.get_running_loop()
                    loop.call_later(wait_seconds, self.transport.write, ANSWER)
                else:
                    self.transport.write(ANSWER)


async def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(Sink, sock=listener, backlog=4096)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
