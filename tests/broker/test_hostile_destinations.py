"""A hostile destination delays only its own attempt: real sockets, the worst possible answers."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import psutil
import pytest
from aiohttp import test_utils, web

from broker import delivery
from broker.connections import Connections
from broker.delivery import Outcome
from harness.processes import ROOT
from tests.broker.hostile import BOMB, BROKEN, ENDLESS, FLOODS, SLOW
from tests.broker.messages import new_message

KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """The URL of each behaviour, in a process of its own that may flood as fast as it can."""
    command = [sys.executable, "-m", "tests.broker.hostile"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        ports = json.loads(process.stdout.readline())
        yield {name: f"http://127.0.0.1:{port}/" for name, port in ports.items()}
        process.stdin.close()


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    async with aclosing(Connections()) as opened:
        yield opened


@pytest.fixture
async def healthy() -> AsyncIterator[str]:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response()

    async with test_utils.RawTestServer(answer) as running:
        yield str(running.make_url("/"))


async def deliver(
    connections: Connections, url: str, seconds: float = 20, **fields: object
) -> tuple[Outcome, float]:
    """The outcome of an attempt, and how many seconds it took."""
    message = new_message(url=url, timeout_seconds=seconds, **fields)
    began = time.monotonic()
    return await delivery.deliver(connections, message, KEY), time.monotonic() - began


def connected() -> set[str]:
    """The ports that this process is connected to."""
    remote = [line.raddr for line in psutil.Process().net_connections("tcp") if line.raddr]
    return {f"http://{host}:{port}/" for host, port in remote}


@pytest.mark.parametrize("name", SLOW)
async def test_slow_destination_has_until_its_timeout(connections, urls, name):
    outcome, seconds = await deliver(connections, urls[name], seconds=0.2)
    assert outcome == Outcome(0, {}, b"", "no answer within 0.2 s")
    assert seconds < 2


async def test_destination_that_reads_nothing_has_until_its_timeout(connections, urls):
    body = bytes(5_000_000)
    outcome, seconds = await deliver(connections, urls["reads nothing"], seconds=0.2, body=body)
    assert outcome.error == "no answer within 0.2 s"
    assert seconds < 2
    async with asyncio.timeout(5):  # nor does it keep the connection
        while urls["reads nothing"] in connected():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", FLOODS)
async def test_flood_is_cut_off(connections, urls, name):
    outcome, seconds = await deliver(connections, urls[name])
    assert outcome.status == 0
    assert outcome.error
    assert seconds < 5


@pytest.mark.parametrize("name", ENDLESS)
async def test_endless_body_is_cut(connections, urls, settings, name):
    settings.BROKER_RESPONSE_BYTES = 10_000
    outcome, seconds = await deliver(connections, urls[name])
    assert (outcome.status, outcome.body) == (200, b"x" * 10_000)
    assert seconds < 5


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_answer_is_a_failed_attempt(connections, urls, name):
    outcome, seconds = await deliver(connections, urls[name])
    assert not outcome.accepted
    assert outcome.error
    assert seconds < 5


async def test_compressed_bomb_is_not_unpacked(connections, urls):
    outcome, _ = await deliver(connections, urls["a bomb"])
    assert (outcome.status, outcome.body) == (200, BOMB)


async def test_redirect_to_itself_is_one_failed_attempt(connections, urls):
    outcome, _ = await deliver(connections, urls["a redirect to itself"])
    assert (outcome.status, outcome.error) == (302, "HTTP 302")


async def test_hundred_megabytes_of_headers_cost_no_memory(connections, urls):
    process = psutil.Process()
    before = process.memory_info().rss
    outcome, _ = await deliver(connections, urls["100 MB of headers"])
    assert outcome.status == 0
    assert process.memory_info().rss - before < 20_000_000


async def test_healthy_destination_does_not_notice_hostile_ones(connections, urls, healthy):
    """It waits for none of them to end, and they keep the event loop busy only for moments.

    Those moments are counted in processor time: on a busy machine, others run in between.
    """
    timeout = 3
    took, busy = [], []
    hostile = asyncio.gather(*(deliver(connections, url, timeout) for url in urls.values()))
    while not hostile.done():
        before = time.thread_time()
        outcome, seconds = await deliver(connections, healthy)
        assert outcome.accepted
        took.append(seconds)
        busy.append(time.thread_time() - before)
    assert max(took) < timeout
    assert max(busy) < 0.5
