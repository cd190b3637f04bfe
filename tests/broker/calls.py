"""Ask `/v2/` as a server passes on what a client sends: the path both decoded and as it came."""

import json
from typing import Any
from urllib.parse import unquote_to_bytes

from asgiref.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler

from broker.models import now_ms

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
    """Ask for `/v2/{target}`; content that is no bytes is sent as JSON."""
    path, _, query = f"/v2/{target}".partition("?")
    given = {"Host": "testserver", "Authorization": f"Bearer {token}"} | (headers or {})
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": unquote_to_bytes(path).decode(errors="replace"),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), v.encode()) for name, v in given.items()],
        "client": ("127.0.0.1", 50000),
    }
    server = ApplicationCommunicator(application, scope)
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    await server.send_input({"type": "http.request", "body": body})
    start, answer = await server.receive_output(20), await server.receive_output(20)
    fields = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], fields, answer["body"])


class Clock:
    """The present moment at first; then it stands still until it is told to go on."""

    def __init__(self, now: int | None = None) -> None:
        self.now = now or now_ms()

    def __call__(self) -> int:
        return self.now
