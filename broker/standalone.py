"""The queue alone: a socket, a database and a server of its own, for other people's apps.

No message passes here. This process prepares the house, starts gunicorn in it (see
gunicorn.conf.py), says where it is, and waits for its end.
"""

import contextlib
import ctypes
import errno
import ipaddress
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from typing import NamedTuple
from urllib.parse import quote

from django.conf import settings

type Handler = Callable[[int, FrameType | None], None]

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# `uv run` passes on a Ctrl-C that has reached us already.
TWICE_SECONDS = 0.5
BACKLOG = 4096
# A file system in memory, if it is not as small as in a container.
MEMORY, MEMORY_BYTES = Path("/dev", "shm"), 2**29
# https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
PR_SET_PDEATHSIG = 1
NO = {"0", "false", "no", "off"}
BANNER = """\
{name} is running at {url}

QSTASH_URL={url}
QSTASH_TOKEN={token}
QSTASH_CURRENT_SIGNING_KEY={current}
QSTASH_NEXT_SIGNING_KEY={next}

Sample request:
curl -X POST {url}/v2/publish/https://example.com -H "Authorization: Bearer {token}" -d hello
"""


class CannotStart(Exception):
    """The queue cannot start; the text says why."""


class Wish(NamedTuple):
    """What the person at the terminal asked for. `database` is a file or a postgresql:// URL."""

    host: str
    port: int
    database: str
    in_memory: bool
    workers: int


def run(wish: Wish, say: Callable[[str], None]) -> int:
    """Serve the queue until told to stop; the server's exit code. CannotStart if it cannot."""
    with listen(wish.host, wish.port) as listener, signals(leave), home(wish) as database:
        variables = variables_for(listener, database)
        token, url = prepare(variables), url_of(listener)
        server = Server(listener, wish.workers, variables)
        try:
            if keys := server.wait_until_up(url, token):
                published = variables["BROKER_DEV_USERS"] == "1"
                name = "Upstash QStash development server" if published else "The queue"
                say(BANNER.format(name=name, url=url, token=token, **keys))
            return server.wait()
        finally:
            server.end()


@contextlib.contextmanager
def signals(handler: Handler) -> Iterator[None]:
    """Let a handler have the signals that end us."""
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def leave(number: int, frame: FrameType | None) -> None:
    """End while there is no server yet."""
    raise SystemExit(128 + number)


def listen(host: str, port: int) -> socket.socket:
    """A socket on which connections may already knock."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", 0) == errno.EADDRINUSE:
            # In these words, and the port last: SDKs that start the server look for them.
            raise CannotStart(f"address already in use: {host}:{port}") from error
        raise CannotStart(f"cannot listen on {host}:{port}: {error}") from error


@contextlib.contextmanager
def home(wish: Wish) -> Iterator[str]:
    """Where the data lives; what is kept in memory only is gone at the end."""
    if wish.in_memory:
        usable = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
        parent = MEMORY if usable else None
        with tempfile.TemporaryDirectory(prefix="broker-", dir=parent) as folder:
            yield str(Path(folder) / "broker.sqlite3")
    elif "://" in wish.database:
        yield wish.database
    else:
        file = Path(wish.database).absolute()
        if not file.parent.is_dir():
            raise CannotStart(f"there is no folder {file.parent}")
        yield str(file)


def variables_for(listener: socket.socket, database: str) -> dict[str, str]:
    """What the server's own jobsite/settings.py reads."""
    given = settings.SECRET_ENVIRONMENT
    host, port = listener.getsockname()[:2]
    wanted = given.get("BROKER_DEV_USERS", "").strip().lower() not in NO
    published = wanted and ipaddress.ip_address(host).is_loopback
    secret = given.get("SECRET_KEY", "").strip()
    if not secret:
        secret = secrets.token_urlsafe(48) if published else kept_secret(database)
    ours = {
        "BROKER_DEV_USERS": "1" if published else "0",
        "BROKER_ONLY": "1",
        "DATABASE_URL": database if "://" in database else f"sqlite:///{quote(database)}",
        "DEBUG": "0",
        "PORT": str(port),
        "PUBLIC_URL": url_of(listener),
        "QSTASH_TOKEN": "",
        "RUN_DISPATCHER": "1",
        "SECRET_KEY": secret,
    }
    return {**given, **ours}


def kept_secret(database: str) -> str:
    """The secret that an account's token and keys come from, in a file beside the database."""
    file = Path("broker.secret" if "://" in database else f"{database}.secret")
    if not file.exists():
        own = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        own.touch(mode=0o600)
        own.write_text(secrets.token_urlsafe(48))
        own.rename(file)
    return file.read_text()


def prepare(variables: dict[str, str]) -> str:
    """Bring the database up to date, with the server's own settings; the first account's token."""
    command = [sys.executable, "manage.py", "broker", "--prepare"]
    done = subprocess.run(  # noqa: S603  the command is ours
        command, cwd=settings.BASE_DIR, env=variables, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise CannotStart("the database cannot be prepared")
    return done.stdout.strip()


def url_of(listener: socket.socket) -> str:
    """How to reach a socket from this machine."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"


class Server:
    """gunicorn, as a child of this process that is passed our signals."""

    def __init__(self, listener: socket.socket, workers: int, variables: dict[str, str]) -> None:
        bind = ["--bind", f"fd://{listener.fileno()}", "--workers", str(workers)]
        self.stopping_since = 0.0
        self.process = subprocess.Popen(  # noqa: S603  the command is ours
            [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", *bind],
            cwd=settings.BASE_DIR,
            env=variables,
            pass_fds=[listener.fileno()],
            start_new_session=True,  # so that a terminal's Ctrl-C reaches it through us only
            preexec_fn=ending_with_parent(),
        )
        for number in SIGNALS:
            signal.signal(number, self.stop)
        listener.close()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """At the first signal what is in flight may finish, at the second it may not."""
        now = time.monotonic()
        if not self.stopping_since:
            self.stopping_since = now
            self.process.terminate()
        elif now - self.stopping_since > TWICE_SECONDS:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGQUIT)

    def wait_until_up(self, url: str, token: str) -> dict[str, str] | None:
        """The signing keys as the server tells them, or None if it has ended."""
        while self.process.poll() is None:
            connection = HTTPConnection(url.removeprefix("http://"), timeout=5)
            try:
                connection.request("GET", "/v2/keys", headers={"Authorization": f"Bearer {token}"})
                answer = connection.getresponse()
                if answer.status == 200:
                    return dict(json.load(answer))
                raise CannotStart(f"the server answers {answer.status}: {answer.read()!r}")
            except (OSError, HTTPException):
                time.sleep(0.05)
            finally:
                connection.close()
        return None

    def wait(self) -> int:
        """Its exit code, as a shell would have it."""
        code = self.process.wait()
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Leave no server behind, whatever went wrong here."""
        self.process.terminate()
        self.process.wait()


def ending_with_parent() -> Callable[[], None] | None:
    """Called in the server before it begins: on Linux it is told to end if we are killed."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
