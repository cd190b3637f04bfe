"""A request that got no answer is told in a sentence, whatever aiohttp calls it."""

import asyncio

import aiohttp
import pytest

from harness.processes import free_port
from jobs.exceptions import TryAgain
from jobs.reasons import in_words
from jobs.tasks import http_session, post

URL = "http://target.test:8443/hook"


async def reason(url: str) -> str:
    async with http_session() as http:
        with pytest.raises(TryAgain) as raised:
            await post(http, url, {}, "j-1")
    return str(raised.value)


async def test_target_that_refuses_the_connection():
    port = free_port()
    assert await reason(f"http://127.0.0.1:{port}/") == f"nothing answers at 127.0.0.1:{port}"


async def test_host_that_does_not_exist():
    assert await reason("http://nobody.invalid/") == "there is no host called nobody.invalid"


@pytest.mark.parametrize("url", ["nowhere", "http://", "http://[/", "http://a:0/"])
async def test_address_that_is_none(url):
    assert await reason(url) == f"{url} is not an address that a request can be sent to"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "hung up without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", ""),
        (b"hello\r\n\r\n", "the answer of"),
    ],
)
async def test_target_that_answers_badly(answer, words):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        if words:
            assert words in await reason(url)
        else:
            async with http_session() as http:  # the status is all that a step needs
                assert await post(http, url, {}, "j-1") == 200


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (aiohttp.ClientPayloadError(), "target.test:8443 hung up in the middle of its answer"),
        (ConnectionResetError(), "target.test:8443 hung up without an answer"),
        (RuntimeError("<Response [0x7f]>"), "the request to target.test:8443 failed"),
    ],
)
def test_exception_becomes_a_sentence(error, words):
    assert in_words(error, URL) == words


def test_password_in_an_address_is_not_shown():
    told = in_words(ConnectionResetError(), "http://user:secret@target.test/")
    assert told == "target.test hung up without an answer"
