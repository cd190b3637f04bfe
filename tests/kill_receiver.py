"""The receiver of tests/kill_rounds.py: `python -m tests.kill_receiver PORT FILE`.

A message arrives here. Its id is appended to FILE, in one write that survives this process,
before it is answered. The message itself says how long that takes and how often it fails
(`Takes: milliseconds`, `Fails: times`). Lines are `id, unix ms, status`; a line with `up` as
its id says since when this process has listened.
"""

import asyncio
import os
import sys
import time


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, log: int) -> None:
    """Answer one request after another on a connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = [line.partition(":") for line in head.split("\r\n")[1:]]
            headers = {name.lower(): value.strip() for name, _, value in lines}
            await reader.readexactly(int(headers.get("content-length", 0)))
            failed = int(headers["upstash-retried"]) < int(headers["fails"])
            status = "500 Sorry" if failed else "200 OK"
            note(log, headers["upstash-message-id"], status[:3])
            await asyncio.sleep(int(headers["takes"]) / 1000)
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def note(log: int, what: str, status: str) -> None:
    os.write(log, f"{what} {time.time_ns() // 1_000_000} {status}\n".encode())


async def main() -> None:
    port, file = sys.argv[1:]
    log = os.open(file, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    server = await asyncio.start_server(
        lambda reader, writer: serve(reader, writer, log), "127.0.0.1", int(port)
    )
    note(log, "up", "0")
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
