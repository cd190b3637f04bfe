"""A network between the site and PostgreSQL that can fail, for tests/outage_rounds.py."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

CHUNK = 65536


class Proxy:
    """Passes bytes on in a thread of its own, until it is told otherwise.

    `mode` is `pass`; `hang`, which accepts everything and passes nothing on; `refuse`, which hangs
    up; or `cut`, which hangs up on each connection whose COMMIT has been answered, before the
    answer is passed on.
    """

    def __init__(self, port: int) -> None:
        self.server_port, self.port, self.mode, self.cuts = port, 0, "pass", 0
        self.loop = asyncio.new_event_loop()
        self.writers: set[asyncio.StreamWriter] = set()
        self.moving = asyncio.Event()

    def __enter__(self) -> "Proxy":
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.do(self.listen())
        return self

    def __exit__(self, *error: object) -> None:
        self.do(self.end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def do(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    async def listen(self) -> None:
        self.moving.set()
        server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

    def be(self, mode: str) -> None:
        """Change the mode, also for open connections."""
        self.do(self.change(mode))

    async def change(self, mode: str) -> None:
        self.mode = mode
        if mode == "hang":
            self.moving.clear()
        else:
            self.moving.set()
        if mode == "refuse":
            for writer in self.writers:
                writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "refuse":
            writer.transport.abort()
            return
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:
            writer.transport.abort()
            return
        both, commits = {writer, server}, [0]
        self.writers |= both
        ways = [
            asyncio.create_task(self.forward(reader, server, commits)),
            asyncio.create_task(self.back(answers, writer, commits)),
        ]
        with suppress(OSError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for each in both:
            each.transport.abort()
        self.writers -= both

    async def forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commits: list[int]
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self.moving.wait()
                commits[0] += b"COMMIT\0" in data
                writer.write(data)
                await writer.drain()

    async def back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, commits: list[int]
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self.moving.wait()
                if b"COMMIT\0" in data and self.mode == "cut" and commits[0]:
                    self.cuts += 1
                    return
                writer.write(data)
                await writer.drain()
