"""The worst a destination can do, in a process of its own: `python -m tests.broker.hostile`.

It prints `{"name": port, …}` and behaves like that to all who connect, until its standard
input ends.
"""

import contextlib
import gzip
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(10_000_000), mtime=0)

type Behaviour = Callable[[socket.socket], None]


def say(*pieces: bytes, wait: float = 0, then_hold: bool = False) -> Behaviour:
    """Send these, one after the other; then close the connection, or keep it open."""

    def behave(line: socket.socket) -> None:
        for piece in pieces:
            line.sendall(piece)
            time.sleep(wait)
        while then_hold and line.recv(65536):
            pass

    return behave


def flood(first: bytes, more: bytes) -> Behaviour:
    def behave(line: socket.socket) -> None:
        line.sendall(first)
        while True:
            line.sendall(more)

    return behave


SLOW = {
    "never answers": say(then_hold=True),
    "one byte at a time, of the head": say(*[b"\r"] * 1000, wait=0.02),
    "one byte at a time, of the body": say(OK + b"\r\n", *[b"x"] * 1000, wait=0.02),
    "half a head": say(OK + b"X-A: ", then_hold=True),
    "less than it announced": say(OK + b"Content-Length: 9\r\n\r\nx", then_hold=True),
}
FLOODS = {
    "a header without end": flood(OK + b"X-A: ", b"x" * 65536),
    "headers without end": flood(OK, b"X-A: 1\r\n" * 8000),
    "a status line without end": flood(b"HTTP/1.1 200 ", b"x" * 65536),
    "no HTTP": flood(b"", b"\x00\xff" * 30000),
    "empty lines": flood(b"", b"\r\n" * 30000),
    "interim answers": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 4000),
    "early hints": flood(b"", b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * 4000),
    "a chunk's size without end": flood(CHUNKED, b"0" * 65536),
    "a chunk's extension without end": flood(CHUNKED + b"1;", b"x" * 65536),
    "trailers without end": flood(CHUNKED + b"0\r\n", b"X-A: 1\r\n" * 8000),
    "a trailer without end": flood(CHUNKED + b"0\r\nX-A: ", b"x" * 65536),
}
ENDLESS = {
    "a body without end": flood(OK + b"\r\n", b"x" * 65536),
    "more than any disk holds": flood(
        OK + b"Content-Length: 999999999999999\r\n\r\n", b"x" * 65536
    ),
    "chunks of one byte": flood(CHUNKED, b"1\r\nx\r\n" * 10000),
}
BROKEN = {
    "hangs up": say(),
    "hangs up amid the head": say(OK + b"X-"),
    "hangs up amid the body": say(OK + b"Content-Length: 9\r\n\r\nx"),
    "hangs up amid a chunk": say(CHUNKED + b"9\r\nx"),
    "garbage": say(b"SSH-2.0\r\n"),
    "a bad chunk, at once": say(CHUNKED + b"-1\r\nx\r\n"),
    "a bad chunk, later": say(CHUNKED, b"zz\r\nx\r\n", wait=0.05, then_hold=True),
    "two lengths": say(OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
    "a length below zero": say(OK + b"Content-Length: -1\r\n\r\nx"),
    "a header with NUL": say(OK + b"X-A: \0\r\nContent-Length: 0\r\n\r\n"),
    "another protocol": say(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
}
OTHER = {
    "a bomb": say(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
    "a redirect to itself": say(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
    "reads nothing": lambda line: time.sleep(60),
    "100 MB of headers": say(OK, *[(b"X-A: %b\r\n" % (b"x" * 8000)) * 100] * 125),
}
ALL = SLOW | FLOODS | ENDLESS | BROKEN | OTHER


def serve(listener: socket.socket, behave: Behaviour) -> None:
    def answer(line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):  # the dispatcher has closed the connection
            if b"\r\n\r\n" in line.recv(65536):
                behave(line)

    while True:
        line, _ = listener.accept()
        threading.Thread(target=answer, args=[line], daemon=True).start()


def main() -> None:
    ports = {}
    for name, behave in ALL.items():
        listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        ports[name] = listener.getsockname()[1]
        threading.Thread(target=serve, args=[listener, behave], daemon=True).start()
    sys.stdout.write(f"{json.dumps(ports)}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
