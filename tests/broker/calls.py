"""Ask `/v2/` as a server passes on what a client sends: the path both decoded and as it came."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from asgiref.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler

from broker.clock import now_ms

application = ASGIHandler()
TOKEN = "token-of-the-test-broker"


class Answer:
    """What came back; `json` is the body read as such."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.json["error"]


async def ask(
    method: str,
    target: str,
    content: object = b"",
    headers: dict[str, str] | None = None,
    token: str = TOKEN,
) -> Answer:
    """Ask for `/v2/{target}`; content other than bytes is sent as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    given = {"Host": "testserver", "Authorization": f"Bearer {token}"} | (headers or {})
    return await exchange(method, f"/v2/{target}", given, body)


async def exchange(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Send one request exactly as it is given, and return its answer.

    A header's value may hold any byte, as `surrogateescape` writes it.
    """
    pairs = [(name.lower(), value) for name, value in headers.items()]
    path, _, query = target.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": unquote_to_bytes(path).decode(errors="replace"),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(n.encode(), v.encode(errors="surrogateescape")) for n, v in pairs],
        "client": ("127.0.0.1", 50000),
    }
    server = ApplicationCommunicator(application, scope)
    await server.send_input({"type": "http.request", "body": body})
    start = await server.receive_output(20)
    content, more = b"", True
    while more:
        part = await server.receive_output(20)
        content, more = content + part["body"], part.get("more_body", False)
    fields = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], fields, content)


class Clock:
    """The present moment, or as much later as a test needs."""

    def __init__(self, ahead_ms: int = 0) -> None:
        self.ahead_ms = ahead_ms

    def __call__(self) -> int:
        return now_ms() + self.ahead_ms
