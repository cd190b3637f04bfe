"""The entry point of the servers. Its limit of a body is tested in test_servers.py."""

import asyncio
import threading

import pytest
from asgiref.testing import ApplicationCommunicator

from jobsite.asgi import Site

swept = threading.Event()


def sweep(now: int) -> bool:
    """Another app's sweep; the writer's thread calls it."""
    swept.set()
    return False


async def test_server_starts_and_ends_without_a_dispatcher(settings):
    settings.RUN_DISPATCHER = False
    server = ApplicationCommunicator(Site(), {"type": "lifespan"})
    for event in ("startup", "shutdown"):
        await server.send_input({"type": f"lifespan.{event}"})
        assert await server.receive_output() == {"type": f"lifespan.{event}.complete"}
    await server.wait()


async def test_hosted_site_sweeps_though_it_has_no_dispatcher(settings, transactional_db):
    settings.RUN_DISPATCHER, settings.QSTASH_TOKEN = False, "token"
    settings.TASKS = {"default": {"BACKEND": "jobs.backends.HostedQueue"}}
    settings.SWEEPS = [f"{__name__}.sweep"]
    server = ApplicationCommunicator(Site(), {"type": "lifespan"})
    await server.send_input({"type": "lifespan.startup"})
    await server.receive_output()
    assert await asyncio.to_thread(swept.wait, 30)
    await server.send_input({"type": "lifespan.shutdown"})
    await server.receive_output()
    await server.wait()


async def test_other_protocols_are_refused():
    with pytest.raises(ValueError, match="does not support websocket"):
        await Site()({"type": "websocket"}, None, None)


@pytest.mark.parametrize("ends", [True, False], ids=["in its last piece", "before"])
async def test_browser_whose_body_is_too_large_is_answered_after_its_end(settings, ends):
    settings.LARGEST_REQUEST = 10
    headers = [(b"accept", b"text/html"), (b"content-type", b"text/plain")]
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": headers}
    server = ApplicationCommunicator(Site(), scope)
    await server.send_input({"type": "http.request", "body": bytes(11), "more_body": not ends})
    if not ends:
        assert await server.receive_nothing()
        await server.send_input({"type": "http.request", "body": b"", "more_body": False})
    assert (await server.receive_output())["status"] == 413
    assert b"An image may have 10 MB." in (await server.receive_output())["body"]
