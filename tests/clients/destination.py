"""Where messages are delivered: a server that keeps every request.

The path says what to answer: `/status/404` that status, `/flaky/2` a 503 twice and then 200,
`/held` a 200 once the test calls `release()`, anything else a 200.
"""

import re
import threading
from email.message import Message
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from harness.waiting import eventually


class Received(NamedTuple):
    """One request: `headers` are found by names in any case, `names` are in lower case."""

    method: str
    path: str
    headers: Message
    body: bytes

    @property
    def names(self) -> list[str]:
        return [name.lower() for name in self.headers]


class Destination:
    """Use as `with Destination() as destination`; requests are kept in order of arrival."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.released = threading.Event()
        destination = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Received(self.command, self.path, self.headers, body)
                status = destination.status_for(request)
                text = f"{status} {responses.get(status, 'Unknown')}".encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(text)))
                if status == 489:
                    self.send_header("Upstash-NonRetryable-Error", "true")
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, address: object) -> None:
                """A sender may give up waiting."""

        self.server = Server(("127.0.0.1", 0), Handler)

    def status_for(self, request: Received) -> int:
        """Keep a request, wait if its path says so, and choose the answer."""
        self.requests.append(request)
        found = re.search(r"/(status|flaky|held)/?(\d*)", request.path)
        verb, number = found.groups() if found else ("", "")
        if verb == "held":
            self.released.wait(30)
        if verb == "flaky":
            return 503 if len(self.at(request.path)) <= int(number) else 200
        return int(number) if verb == "status" else 200

    def url(self, path: str = "/") -> str:
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def at(self, path: str) -> list[Received]:
        """The requests to one path, query included."""
        return [request for request in self.requests if request.path == path]

    def first(self, path: str = "/") -> Received:
        """The first request to a path, waited for."""
        return self.received(1, path)[0]

    def received(self, count: int, path: str = "/") -> list[Received]:
        """At least `count` requests to a path, waited for."""
        eventually(lambda: len(self.at(path)) >= count, what=f"request {count} to {path}")
        return self.at(path)

    def release(self) -> None:
        """Answer the requests that are held."""
        self.released.set()

    def __enter__(self) -> "Destination":
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
        self.server.shutdown()
        self.server.server_close()
