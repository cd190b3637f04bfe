"""A connection on which no request arrives is closed; one that asks in time is not."""

import asyncio
import logging
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from gunicorn.workers import gasgi

from jobsite import slow_heads
from jobsite.slow_heads import PatientProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: a.test\r\n"


async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def connection():
    """A connection to a server of gunicorn's, which is only its side of the connections."""
    loop = asyncio.get_running_loop()
    log = SimpleNamespace(access=lambda *arguments: None, access_log_enabled=False)
    for level in ("debug", "info", "warning", "exception", "error"):
        setattr(log, level, getattr(logging.getLogger("gunicorn.error"), level))
    worker = SimpleNamespace(
        cfg=Config(), log=log, loop=loop, nr_conns=0, asgi=application, alive=True, nr=0,
        max_requests=100, state={}, wsgi=None, pid=1,
    )  # fmt: skip
    server = await loop.create_server(lambda: PatientProtocol(worker), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    yield reader, writer
    writer.close()
    server.close()
    await writer.wait_closed()


@pytest.mark.parametrize("sent", [b"", REQUEST], ids=["nothing", "half a head"])
async def test_connection_without_a_request_is_closed(monkeypatch, sent):
    monkeypatch.setattr(slow_heads, "HEAD_SECONDS", 0.1)
    async with connection() as (reader, writer):
        writer.write(sent)
        assert await asyncio.wait_for(reader.read(), 20) == b""


async def test_connection_with_a_request_outlives_the_time_for_a_head(monkeypatch):
    monkeypatch.setattr(slow_heads, "HEAD_SECONDS", 0.5)
    async with connection() as (reader, writer):
        for _ in range(2):
            writer.write(REQUEST + b"\r\n")
            assert b" 204 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            await asyncio.sleep(0.6)  # longer than a head may take


def test_gunicorns_workers_use_it(monkeypatch):
    monkeypatch.setattr(gasgi, "ASGIProtocol", None)
    slow_heads.install()
    assert gasgi.ASGIProtocol is PatientProtocol
