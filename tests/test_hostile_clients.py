"""Clients that mean harm, against a real gunicorn: smuggled requests, fuzz, and slow ones.

The long forms of the last two are commands: tests/fuzz.py and tests/slow_clients.py.
"""

import contextlib
import re
import socket
import time
from collections.abc import Iterator

import pytest

from harness.processes import Site, site
from tests import fuzz, slow_clients

SECOND = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
START = b"POST /catcher/smuggled/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n"
# Each could be read in two ways; what stands at its end would be a request in one of them.
AMBIGUOUS = {
    "length and chunks": CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n",
    "chunks and length": START
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": START + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "two lengths in one": START + b"Content-Length: 0, 5\r\n\r\n",
    "length with a sign": START + b"Content-Length: +0\r\n\r\n",
    "length below zero": START + b"Content-Length: -1\r\n\r\n",
    "length in hexadecimal": START + b"Content-Length: 0x0\r\n\r\n",
    "length with an underscore": START + b"Content-Length: 0_0\r\n\r\n",
    "blank before the colon": START + b"Content-Length : 5\r\n\r\n",
    "blank before the coding's colon": START + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "unknown coding": START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked not last": START + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding after a vertical tab": START + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "folded coding": START + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "folded header": START + b"X-A: 1\r\n Content-Length: 5\r\n\r\n",
    "lines that end with LF": (START + b"Content-Length: 0\r\n\r\n").replace(b"\r\n", b"\n"),
    "one line that ends with LF": START + b"X-A: 1\nContent-Length: 5\r\n\r\n",
    "a CR amid a header": START + b"X-A: 1\rContent-Length: 5\r\n\r\n",
    "NUL in a header": START + b"X-A: \0\r\nContent-Length: 0\r\n\r\n",
    "no colon": START + b"Content-Length\r\n\r\n",
    "chunk's size below zero": CHUNKED + b"\r\n-1\r\n\r\n",
    "chunk's size with 0x": CHUNKED + b"\r\n0x0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"\r\n1\r\nxy\r\n0\r\n\r\n",
    "LF after a chunk's size": CHUNKED + b"\r\n0\n\r\n",
    "LF in a chunk's extension": CHUNKED + b"\r\n0;a\nb\r\n\r\n",
    "chunks in HTTP/1.0": CHUNKED.replace(b"1.1", b"1.0") + b"\r\n0\r\n\r\n",
}
CLEAR = {
    "no body": START + b"Content-Length: 0\r\n\r\n",
    "chunks": CHUNKED + b"\r\n1\r\nx\r\n0\r\n\r\n",
    "chunk with an extension": CHUNKED + b"\r\n1;a=b\r\nx\r\n0\r\n\r\n",
    "trailer": CHUNKED + b"\r\n0\r\nX-A: 1\r\n\r\n",
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("hostile")
    with site(folder, BROKER_TOKEN=fuzz.TOKEN, RUN_DISPATCHER="0") as running:
        running.start_web()
        yield running


def statuses(port: int, sent: bytes) -> list[int]:
    """The status of every answer that a connection brings until the server closes it."""
    told = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(sent)
        with contextlib.suppress(ConnectionError):
            while piece := line.recv(65536):
                told += piece
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", told)]


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_request_that_could_be_two_is_refused_whole(running, name):
    told = statuses(running.port, AMBIGUOUS[name] + SECOND)
    assert len(told) == 1 and told[0] in {400, 501}, told


@pytest.mark.parametrize("name", CLEAR)
def test_requests_one_after_the_other_are_both_answered(running, name):
    assert statuses(running.port, CLEAR[name] + SECOND) == [200, 200]


def test_no_hostile_input_gives_a_5xx(running):
    counted, bad = fuzz.run(running, inputs=200, seed=int(time.time()))
    assert bad == []
    assert counted[200] > 20 and counted[400] > 20, counted
    assert "Traceback" not in running.log.read_text()


@pytest.mark.parametrize(
    ("kind", "count"),
    [("heads, a byte a second", 100), ("bodies, a byte a second", 100), ("bodies of 16 MiB", 4)],
)
def test_others_are_served_beside_slow_and_greedy_clients(running, kind, count):
    """How fast, the command measures; here other tests want the same processors."""
    with slow_clients.attacked(running, kind, count):
        figures = slow_clients.measure(running, seconds=1)
    assert figures.median < 2
    assert figures.megabytes < 400
    assert figures.files < 100 + 2 * count
