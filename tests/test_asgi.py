"""The entry point of the servers. Its limit of a body is tested in test_servers.py."""

import asyncio
import json
import os
import subprocess
import sys
import threading

import pytest
from asgiref.testing import ApplicationCommunicator

from catcher.models import Bin
from harness.processes import ROOT
from jobsite import asgi
from jobsite.asgi import Site

# What takes long to import, and is needed by a delivery, a click, an image, hosted QStash,
# PostgreSQL or Prometheus: a visitor who wakes the site up does not wait for it.
AFTER_THE_START = {"aiohttp", "limits"}
WHERE_NEEDED = {"PIL", "prometheus_client", "psycopg", "requests", "urllib3"}
START = """
import asyncio, json, sys
from jobsite import asgi

at_start = list(sys.modules)
asgi.LATER_SECONDS = 0

async def receive():
    await asyncio.sleep(0.01)  # the timer comes first

async def send(event): pass

asyncio.run(asgi.application.lifespan(receive, send))  # waits for its threads in the end
print(json.dumps([at_start, list(sys.modules)]))
"""

swept = threading.Event()


def sweep(now: int) -> bool:
    """Another app's sweep; the writer's thread calls it."""
    swept.set()
    return False


def test_start_imports_no_library_that_the_first_page_can_do_without():
    own = {"SECRET_KEY": "x" * 50, "RUN_DISPATCHER": "0", "DATABASE_URL": "sqlite://"}
    own |= {"METRICS_TOKEN": "", "QSTASH_TOKEN": "", "DJANGO_SETTINGS_MODULE": "jobsite.settings"}
    started = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START],
        cwd=ROOT,
        env=os.environ | own,
        capture_output=True,
        text=True,
    )
    assert started.returncode == 0, started.stderr
    at_start, in_the_end = map(set, json.loads(started.stdout))
    assert at_start & (AFTER_THE_START | WHERE_NEEDED) == set()
    assert in_the_end & (AFTER_THE_START | WHERE_NEEDED) == AFTER_THE_START


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


@pytest.mark.parametrize("first", [b"", b"x"], ids=["nothing", "a first piece"])
async def test_body_that_comes_too_slowly_gets_408(monkeypatch, first):
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.1)
    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    server = ApplicationCommunicator(Site(), scope)
    if first:
        await server.send_input({"type": "http.request", "body": first, "more_body": True})
    start = await server.receive_output(20)
    assert (start["status"], (b"connection", b"close") in start["headers"]) == (408, True)
    assert (await server.receive_output())["body"] == b'{"error": "body too slow"}'


async def test_answer_may_take_longer_than_a_body(monkeypatch, transactional_db):
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.1)
    scope = {"type": "http", "method": "POST", "path": "/catcher/slow/", "query_string": b""}
    scope |= {"headers": [(b"host", b"testserver")], "raw_path": b"/catcher/slow/"}
    await Bin.objects.acreate(name="slow", delay_seconds=0.3)
    server = ApplicationCommunicator(Site(), scope)
    await server.send_input({"type": "http.request", "body": b"x"})
    assert (await server.receive_output(20))["status"] == 200
