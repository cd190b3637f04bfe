"""Which addresses a delivery may go to, however they are written or looked up."""

import asyncio
import gc
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from ipaddress import ip_address
from typing import Any

import pytest
from aiohttp import test_utils, web

from broker import delivery
from broker import resolver as resolver_module
from broker.connections import Connections
from broker.delivery import Outcome
from broker.resolver import LOOKUPS_AT_ONCE, Resolver, is_public
from tests.broker.messages import new_message

ANYWHERE = str(ip_address(0))
KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"


@pytest.fixture
async def port(settings) -> AsyncIterator[int]:
    """A private server, to which the queue must not connect."""
    settings.BROKER_REFUSE_PRIVATE_ADDRESSES = True

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response()

    async with test_utils.RawTestServer(answer) as running:
        yield running.port


async def deliver(url: str, lookup: Any = socket.getaddrinfo) -> Outcome:
    async with aclosing(Connections(lookup)) as connections:
        return await delivery.deliver(connections, new_message(url=url), KEY)


def leading_to(*addresses: str) -> Any:
    """A name server that answers with the next of these addresses each time."""
    answers = iter(addresses)

    def lookup(host: str, port: int, *more: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    return lookup


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",
        ANYWHERE, "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
        "::", "::1", "fe80::1", "fe80::1%1", "fc00::1", "fec0::1", "ff0e::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1",
        "2001:0:1::1",
    ],
)  # fmt: skip
def test_address_is_private(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"],
)
def test_address_is_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        ANYWHERE,
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "2130706433",
        "%31%32%37.0.0.1",
    ],
)  # fmt: skip
async def test_private_address_is_refused_however_it_is_written(port, host):
    outcome = await deliver(f"http://{host}:{port}/")
    assert outcome.status == 0
    assert "is not a public address, and this queue delivers to no other" in outcome.error


async def test_refusal_says_which_address_and_nothing_else(port):
    outcome = await deliver(f"http://127.0.0.1:{port}/")
    assert outcome.error == (
        "127.0.0.1 is not a public address, and this queue delivers to no other"
    )


async def test_name_is_refused_once_it_leads_to_a_private_address(port):
    lookup = leading_to("93.184.216.34", "127.0.0.1")
    (first,) = await Resolver(lookup).resolve("rebound.test", port)
    assert is_public(ip_address(first[4][0]))
    outcome = await deliver(f"http://rebound.test:{port}/", lookup)
    assert outcome.error.startswith("127.0.0.1 is not a public address")


async def test_every_connection_is_checked_anew(port, settings):
    settings.PUBLIC_URL = f"http://site.test:{port}"
    async with aclosing(Connections(leading_to("127.0.0.1", "127.0.0.2"))) as connections:
        assert (
            await delivery.deliver(connections, new_message(url=settings.PUBLIC_URL), KEY)
        ).accepted
        url = f"http://rebound.test:{port}/"
        outcome = await delivery.deliver(connections, new_message(url=url), KEY)
    assert outcome.error.startswith("127.0.0.2 is not a public address")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_own_address_is_allowed(port, settings, host):
    settings.PUBLIC_URL = f"http://{host.upper()}:{port}"
    assert (await deliver(f"http://{host}:{port}/")).accepted


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_own_port_is_allowed_while_the_site_has_no_url(port, settings, host):
    settings.PUBLIC_URL, settings.PORT = "", port
    assert (await deliver(f"http://{host}:{port}/")).accepted


async def test_own_address_is_not_allowed_under_another_name(port, settings):
    settings.PUBLIC_URL = f"http://site.test:{port}"
    async with aclosing(Connections(leading_to("127.0.0.1", "127.0.0.1"))) as connections:
        for url, accepted in ((settings.PUBLIC_URL, True), (f"http://other.test:{port}", False)):
            message = new_message(url=url)
            assert (await delivery.deliver(connections, message, KEY)).accepted == accepted


async def test_other_ports_of_the_own_host_are_not_allowed(port, settings):
    settings.PUBLIC_URL = "http://127.0.0.1:1"
    assert not (await deliver(f"http://127.0.0.1:{port}/")).accepted


async def test_development_refuses_nothing(port, settings):
    settings.DEBUG = True
    assert (await deliver(f"http://127.0.0.1:{port}/")).accepted


async def test_nothing_is_refused_unless_asked_for(port, settings):
    settings.BROKER_REFUSE_PRIVATE_ADDRESSES = False
    assert (await deliver(f"http://127.0.0.1:{port}/")).accepted


async def test_lookup_that_lasts_is_not_made_again(monkeypatch):
    def lookup(host: str, port: int, *more: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        may_answer.wait()
        return leading_to("127.0.0.1")(host, port)

    asked: list[str] = []
    may_answer = threading.Event()
    monkeypatch.setattr(resolver_module, "REMEMBERED_SECONDS", 0)
    resolver = Resolver(lookup)
    waiting = [asyncio.create_task(resolver.resolve("slow.test", 80)) for _ in range(3)]
    await asyncio.sleep(0)
    may_answer.set()
    await asyncio.gather(*waiting)
    resolver.close()
    assert asked == ["slow.test"]


async def test_lookup_that_fails_after_everybody_has_gone_is_no_error_of_ours(caplog):
    def lookup(*asked: object) -> list[tuple[Any, ...]]:
        may_answer.wait()
        raise OSError("no such host")

    may_answer = threading.Event()
    resolver = Resolver(lookup)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await resolver.resolve("slow.test", 80)
    ((_, found),) = resolver.lookups.values()
    may_answer.set()
    await asyncio.wait([found])
    resolver.close()
    resolver.lookups.clear()
    del found
    gc.collect()
    assert not caplog.records


async def test_name_servers_that_do_not_answer_hold_up_nobody_else():
    may_answer = asyncio.Event()
    loop = asyncio.get_running_loop()

    def lookup(host: str, port: int, *more: object) -> list[tuple[Any, ...]]:
        if host.startswith("dead"):
            asyncio.run_coroutine_threadsafe(may_answer.wait(), loop).result()
        return leading_to("127.0.0.1")(host, port)

    resolver = Resolver(lookup)
    dead = [
        asyncio.create_task(resolver.resolve(f"dead{number}.test", 80))
        for number in range(LOOKUPS_AT_ONCE - 1)
    ]
    async with asyncio.timeout(5):
        assert len(await resolver.resolve("living.test", 80)) == 1
    may_answer.set()
    await asyncio.gather(*dead)
    resolver.close()
