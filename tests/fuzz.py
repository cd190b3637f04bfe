"""Hostile requests to a real gunicorn: `uv run python -m tests.fuzz --inputs 10000`.

Half of the inputs are bodies of `POST /v2/batch`: JSON of any depth, type, size and text, or
nearly JSON. The other half goes to a bin of the catcher: any method, path, header and body. Each
must be answered, and none with a 5xx. `--seed` repeats an earlier run.
"""

# ruff: noqa: T201, S311  (it prints what it found; the inputs need not be secret)

import argparse
import json
import random
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.processes import Site, exit_on_sigterm, site

TOKEN = "only-for-the-tests"
TEXTS = [
    "", " ", "a", "é", "語", "😀", "\ud800", "\udfff\ud800", "\0", "\x7f\x80", "\u202e", "\r\n",
    "a" * 5000, "http://a.test/", "https://a.test/%00", "http://[::1", "http://\ud800/", "q", "q/q",
    "//", "5s", "-1", "1e999", "null", "*****", "* * * * *", "parallelism=1", "rate=1e9",
]  # fmt: skip
NUMBERS = ["0", "-0", "1e400", "-1e400", "9" * 400, "9" * 5000, "1.5", "1E-999", "NaN", "Infinity"]
NAMES = [
    "destination", "headers", "body", "queue", "Upstash-Delay", "Upstash-Retries", "Content-Type",
    "Upstash-Callback", "Upstash-Callback-Retries", "Upstash-Flow-Control-Key", "Upstash-Label",
    "Upstash-Flow-Control-Value", "Upstash-Redact-Fields", "Upstash-Forward-X", "Upstash-Method",
    "Upstash-Deduplication-Id", "Upstash-Not-Before", "Upstash-Timeout", "Upstash-Retry-Delay",
]  # fmt: skip
BYTES = [bytes([byte]) for byte in range(256)]
METHODS = [
    b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT",
    b"PROPFIND", b"X" * 19, b"M-SEARCH", b"get", b"A!#$%&'*+", b"X" * 300,
]  # fmt: skip
PIECES_OF_PATH = [
    b"/", b"//", b"a", b"..", b".", b"%2e%2e", b"%00", b"%ff", b"%F0%9F%98%80", b"%0a",
    b"%", b"%zz", b"~", b"~/new", b"?", b"?status=", b"status=204", b"&status=999", b"&", b"=",
    b"%26", b";",
    b"*", b"?" + b"a=1&" * 1100, b"x" * 2000, "é".encode(), b"\xff", b"?status=500",
    b"?status=%32%30%30",
]  # fmt: skip
HEADERS = [
    b"Accept: text/html", b"Accept: */*", b"HX-Request: true", b"HX-Current-URL: \xff%ff",
    b"Content-Type: application/json; charset=utf-16", b"Content-Type: \xff", b"Content-Type: ;=;",
    b"Content-Type: multipart/form-data; boundary=",
    b"Content-Type: multipart/form-data; boundary=x",
    b"Content-Type: application/x-www-form-urlencoded", b"Content-Encoding: gzip",
    b"Cookie: sessionid=\xff; csrftoken=; bin=..", b"Cookie: sessionid=eyJ2:1:x", b"Cookie: =;=;;,",
    b"Upstash-Signature: a.b.c", b"Upstash-Signature: ", b"Upstash-Signature: " + b"." * 3000,
    b"Upstash-Signature: eyJhbGciOiJub25lIn0.e30.", b"Authorization: Bearer \xff",
    b"Expect: 100-continue",
    b"X-Forwarded-For: , ,", b"X-Forwarded-Proto: \xff", b"Range: bytes=0-1", b"If-None-Match: *",
    b"Last-Event-ID: \xff", b"X-\xc3\xa9: a", b"X-Long: " + b"y" * 8000,
    b"Accept-Encoding: gzip;q=x",
    b"Origin: null", b"Referer: http://[", b"Accept: text/event-stream", b"Upgrade: websocket",
]  # fmt: skip


class Fuzz:
    """Makes inputs, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)

    def value(self, depth: int = 4) -> str:
        """The text of a JSON value, or of something that is nearly one."""
        kind = self.choose.random()
        if kind < 0.1:
            return self.choose.choice(NUMBERS)
        if kind < 0.2:
            return self.choose.choice(["null", "true", "false", "", "'a'", "{", "[1,]", '"\\u12"'])
        if kind < 0.5 or not depth:
            return self.text()
        if kind < 0.7:
            items = [self.value(depth - 1) for _ in range(self.choose.randrange(4))]
            return f"[{','.join(items)}]"
        return self.record(depth)

    def text(self) -> str:
        made = "".join(self.choose.choices(TEXTS, k=self.choose.randrange(1, 3)))
        return json.dumps(made, ensure_ascii=self.choose.random() < 0.7)

    def record(self, depth: int) -> str:
        """An object, perhaps with the same name twice."""
        names = self.choose.choices(NAMES, k=self.choose.randrange(5))
        return f"{{{','.join(f'{json.dumps(n)}:{self.value(depth - 1)}' for n in names)}}}"

    def item(self) -> str:
        """Nearly an item of a batch."""
        headers = {}
        for name in self.choose.choices(NAMES, k=self.choose.randrange(4)):
            headers[name] = self.choose.choice(TEXTS)
        whole: dict[str, Any] = {"destination": self.choose.choice(TEXTS), "headers": headers}
        whole |= {"body": self.choose.choice(TEXTS), "queue": self.choose.choice(TEXTS)}
        return json.dumps(whole)

    def batch(self) -> bytes:
        """The body of a batch."""
        kind = self.choose.random()
        if kind < 0.05:
            opened = self.choose.choice(["[", '{"a":', '[{"headers":'])
            body = opened * self.choose.choice([10, 900, 20_000, 200_000])
        elif kind < 0.5:
            body = f"[{','.join(self.item() for _ in range(self.choose.randrange(1, 4)))}]"
        elif kind < 0.9:
            body = f"[{self.record(4)},{self.value()}]"
        else:
            body = self.value(6)
        content = bytearray(body.encode(errors="surrogatepass"))
        for _ in range(self.choose.choice([0, 0, 0, 1, 5])):
            if content:
                content[self.choose.randrange(len(content))] = self.choose.randrange(256)
        return request(b"POST", b"/v2/batch", [b"Authorization: Bearer " + TOKEN.encode()], content)

    def caught(self) -> bytes:
        """A request to a bin, or to what is near it."""
        bins = [
            b"/catcher/fuzz/",
            b"/catcher/fuzz",
            b"/catcher/",
            b"/catcher/~/fuzz/",
            b"/catcher/f/",
        ]
        path = self.choose.choice(bins) + b"".join(
            self.choose.choices(PIECES_OF_PATH, k=self.choose.randrange(4))
        )
        body = b"".join(self.choose.choices(BYTES, k=self.choose.choice([0, 3, 300])))
        if self.choose.random() < 0.3:
            body = self.value(6).encode(errors="surrogatepass")
        if self.choose.random() < 0.02:
            body = b"[" * 60_000
        headers = self.choose.choices(HEADERS, k=self.choose.choice([0, 1, 2, 3, 60]))
        return request(self.choose.choice(METHODS), path, headers, body)


def request(method: bytes, path: bytes, headers: list[bytes], body: bytes | bytearray) -> bytes:
    """A request as it goes over the line."""
    lines = [b"%b %b HTTP/1.1" % (method, path), b"Host: 127.0.0.1", b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", bytes(body)])


def ask(port: int, sent: bytes) -> int:
    """The status of the answer; 0 if there was none."""
    told = b""
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 30) as line:
        with suppress(ConnectionError):  # it may hang up before it has read everything
            line.sendall(sent)
        while piece := line.recv(65536):
            told += piece
    last = told
    while last.startswith(b"HTTP/1.1 1"):
        last = last.partition(b"\r\n\r\n")[2]
    return int(last[9:12]) if last.startswith(b"HTTP/1.1 ") else 0


def run(running: Site, inputs: int, seed: int) -> tuple[Counter[int], list[tuple[int, bytes]]]:
    """Send so many inputs, then look at all pages of the bin: how many of each status, and what
    was answered with a 5xx or not at all.
    """
    fuzz, statuses, bad = Fuzz(seed), Counter[int](), []
    make: list[Callable[[], bytes]] = [fuzz.batch, fuzz.caught]
    for number in range(inputs):
        sent = make[number % 2]()
        status = ask(running.port, sent)
        statuses[status] += 1
        # A destination's own choice: ?status=500 is answered with 500.
        wanted = b"status=5" in sent.partition(b"\r\n")[0]
        if (status >= 500 and status != 501 and not wanted) or not status:
            bad.append((status, sent))
    for path in (b"/catcher/fuzz/", b"/catcher/~/fuzz/requests.json", b"/catcher/~/fuzz/1"):
        sent = request(b"GET", path, [b"Accept: text/html"], b"")
        if (status := ask(running.port, sent)) >= 500 or not status:
            bad.append((status, sent))
    return statuses, bad


def main() -> None:
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory() as folder, site(Path(folder), BROKER_TOKEN=TOKEN) as running:
        running.start_web(RUN_DISPATCHER="0")
        statuses, bad = run(running, given.inputs, given.seed)
        tracebacks = running.log.read_text().count("Traceback")
        tail = running.log.read_text()[-6000:] if tracebacks else ""
    for status, count in sorted(statuses.items()):
        print(f"{status or 'no answer'}: {count:,}")
    for status, sent in bad[:10]:
        print(f"\n{status}: {sent[:600]!r}")
    print(f"\n{given.inputs:,} inputs, {len(bad)} answered with a 5xx or not at all, ", end="")
    print(f"{tracebacks} tracebacks in the log\n{tail}")
    sys.exit(bool(bad or tracebacks))


if __name__ == "__main__":
    main()
