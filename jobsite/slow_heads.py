"""Close connections on which no request arrives: gunicorn's ASGI worker waits for ever.

A browser has connected, and its first request has not arrived yet. A byte a minute, or none at
all, would hold the connection and its file descriptor; a few thousand of them, the whole server.
gunicorn's `keepalive` bounds the time for the next requests, asgi.py that for a body.
"""

from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

# From the connection to the end of the first request's head.
HEAD_SECONDS = 20.0


class PatientProtocol(ASGIProtocol):
    """gunicorn's side of a connection, which waits for the first head for a limited time."""

    def connection_made(self, transport: Any) -> None:
        """Set the timer of `keepalive`, which gunicorn itself sets after an answer.

        It stops this timer, too, when the head is there.
        """
        super().connection_made(transport)
        if self._request_ready is not None:
            loop = self.worker.loop
            self._keepalive_handle = loop.call_later(HEAD_SECONDS, self._keepalive_timeout)


def install() -> None:
    """Let gunicorn's ASGI workers use it. They have no setting for this."""
    gasgi.ASGIProtocol = PatientProtocol
