"""The log server of the development mode: what has happened to messages, to be read on port + 1.

No message passes here. QStash's own development server has such a port, too, beside the queue's.
`/` shows the log of the default user as text, and everything under `/v2/` answers GET as on the
queue's port.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from asgiref.sync import markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.request import split_domain_port

from broker.api.events import read_log_query, tell
from broker.api.lookups import read
from broker.api.requests import is_foreign, refuse

NAMES = {"localhost", "127.0.0.1", "[::1]"}
LINES = "200"


class LogServer:
    """Middleware: let the log server's port only be read, and show the log at its root."""

    sync_capable, async_capable = False, True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.META.get("SERVER_PORT") != str(settings.QSTASH_DEV_LOG_PORT):
            return await self.get_response(request)
        if request.method not in {"GET", "HEAD"}:
            return refuse(405, "the log server can only be read")
        # The log needs no token, so a page that has let its own name point here must not see it.
        if split_domain_port(request.headers.get("Host", ""))[0] not in NAMES:
            return refuse(403, "ask for the log server by the name localhost")
        if is_foreign(request):
            return refuse(403, "the log is not for web pages")
        return await (show_log() if request.path == "/" else self.get_response(request))


async def show_log() -> HttpResponse:
    """The newest lines of the default user's log as text, without bodies and headers."""
    account = next(iter(settings.BROKER_ACCOUNTS))
    asked = read_log_query(account, {"count": [LINES]})
    told = await read(lambda: tell(asked))
    text = "".join(map(line, told["events"])) or "Nothing has been published yet.\n"
    return HttpResponse(
        text,
        content_type="text/plain; charset=utf-8",
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
    )


def line(event: dict[str, Any]) -> str:
    """A line of the log: when, the state, which message, where to, and what was wrong."""
    at = datetime.fromtimestamp(event["time"] / 1000, UTC).isoformat(timespec="milliseconds")
    words = [at, f"{event['state']:16}", event["messageId"], event["method"], event["url"]]
    return f"{' '.join([*words, event.get('error', '')]).rstrip()}\n"
