"""The queue alone, for applications in any language: what `manage.py broker` does.

No message passes here. This process opens the socket, prepares the database, starts gunicorn
(see gunicorn.conf.py), prints the address and waits until gunicorn ends.
"""

import contextlib
import ctypes
import errno
import ipaddress
import json
import os
import re
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
# `uv run` forwards a Ctrl-C that this process has received already.
TWICE_SECONDS = 0.5
BACKLOG = 4096
# A file system in memory; in a container it is often too small.
MEMORY, MEMORY_BYTES = Path("/dev", "shm"), 2**29
# https://www.rfc-editor.org/rfc/rfc6454#section-6.2, without what no console needs
ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
# https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
PR_SET_PDEATHSIG = 1
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
    """The queue cannot start."""


class Arguments(NamedTuple):
    """The arguments of the command. `database` is a file or a postgresql:// URL."""

    host: str
    port: int
    database: str
    in_memory: bool
    workers: int
    log_port: int | None = None  # None: as the settings say, or the next one
    allow_origin: str = ""
    development_users: bool = False


def run(arguments: Arguments, say: Callable[[str], None]) -> int:
    """Serve the queue until a signal ends it, and return the server's exit code."""
    with (
        listen(arguments.host, arguments.port) as listener,
        signals(exit_at_once),
        database_for(arguments) as database,
    ):
        variables = variables_for(listener, database, arguments.development_users)
        variables["BROKER_ALLOW_ORIGIN"] = checked_origin(arguments.allow_origin)
        published = variables["BROKER_DEV_USERS"] == "1"
        log_listener = listen_for_log(listener, arguments.log_port, say) if published else None
        log_port = log_listener.getsockname()[1] if log_listener else 0
        variables["QSTASH_DEV_LOG_PORT"] = str(log_port)
        token, url = prepare(variables), url_of(listener)
        listeners = [opened for opened in (listener, log_listener) if opened]
        server = Server(listeners, arguments.workers, variables)
        try:
            if keys := server.wait_until_up(url, token):
                name = "Upstash QStash development server" if published else "The queue"
                say(BANNER.format(name=name, url=url, token=token, **keys))
            return server.wait()
        finally:
            server.end()


@contextlib.contextmanager
def signals(handler: Handler) -> Iterator[None]:
    """Use a handler for the signals that end this process."""
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def exit_at_once(number: int, frame: FrameType | None) -> None:
    """Exit; for as long as there is no server yet."""
    raise SystemExit(128 + number)


def listen(host: str, port: int) -> socket.socket:
    """Open the socket. Connections made from now on wait until the server accepts them."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", 0) == errno.EADDRINUSE:
            # QStash's SDKs look for these words, with the port at the end.
            raise CannotStart(f"address already in use: {host}:{port}") from error
        raise CannotStart(f"cannot listen on {host}:{port}: {error}") from error


def listen_for_log(
    listener: socket.socket, port: int | None, say: Callable[[str], None]
) -> socket.socket | None:
    """Open the log server's socket, beside the queue's and on loopback only; 0: none is wanted.

    The queue does without one if the port is taken: nothing depends on it.
    """
    host, own = listener.getsockname()[:2]
    if port is None:
        port = settings.QSTASH_DEV_LOG_PORT or own + 1
    if not port or not ipaddress.ip_address(host).is_loopback:
        return None
    try:
        return listen(host, port)
    except CannotStart as error:
        say(f"There is no log server: {error}\n")
        return None


def checked_origin(origin: str) -> str:
    """An origin as browsers send it; CannotStart for anything else, so also for `*` and `null`."""
    if origin and not ORIGIN.fullmatch(origin):
        raise CannotStart(
            f"--allow-origin={origin!r} is not an origin, such as https://console.example.com"
        )
    return origin


@contextlib.contextmanager
def database_for(arguments: Arguments) -> Iterator[str]:
    """The database's file or URL; a database in memory is deleted at the end."""
    if arguments.in_memory:
        usable = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES
        parent = MEMORY if usable else None
        with tempfile.TemporaryDirectory(prefix="broker-", dir=parent) as folder:
            yield str(Path(folder) / "broker.sqlite3")
    elif "://" in arguments.database:
        yield arguments.database
    else:
        file = Path(arguments.database).absolute()
        if not file.parent.is_dir():
            raise CannotStart(f"there is no folder {file.parent}")
        yield str(file)


def variables_for(
    listener: socket.socket, database: str, development_users: bool = False
) -> dict[str, str]:
    """The environment of the server: this process's own, and what its settings must read."""
    host, port = listener.getsockname()[:2]
    if development_users and not settings.BROKER_DEV_USERS_WANTED:
        raise CannotStart("--development-users contradicts BROKER_DEV_USERS=0")
    anybody = development_users or ipaddress.ip_address(host).is_loopback
    published = settings.BROKER_DEV_USERS_WANTED and anybody
    is_url = "://" in database
    secret_file = Path("broker.secret" if is_url else f"{database}.secret")
    variables = {
        "BROKER_DEV_USERS": "1" if published else "0",
        "DATABASE_URL": database if is_url else f"sqlite:///{quote(database)}",
        "DEBUG": "0",
        "PORT": str(port),
        "PUBLIC_URL": url_of(listener),
        "QSTASH_TOKEN": "",
        "RUN_DISPATCHER": "1",
        # Without a SECRET_KEY, the accounts' tokens and keys are derived from this file.
        "SECRET_KEY_FILE": str(secret_file.absolute()),
    }
    if published:  # nothing is derived, so no file is needed
        variables["SECRET_KEY"] = secrets.token_urlsafe(48)
    return os.environ | variables


def prepare(variables: dict[str, str]) -> str:
    """Migrate the database under the server's settings, and return the first account's token."""
    command = [sys.executable, "manage.py", "broker", "--prepare"]
    done = subprocess.run(  # noqa: S603  the command is ours
        command, cwd=settings.BASE_DIR, env=variables, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise CannotStart("the database cannot be prepared, the reason is printed above")
    return done.stdout.strip()


def url_of(listener: socket.socket) -> str:
    """The URL at which this machine reaches a socket."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"http://[{address}]:{port}" if address.version == 6 else f"http://{address}:{port}"


class Server:
    """gunicorn as a child process; this process forwards its signals to it."""

    def __init__(
        self, listeners: list[socket.socket], workers: int, variables: dict[str, str]
    ) -> None:
        files = [listener.fileno() for listener in listeners]
        bind = [word for file in files for word in ("--bind", f"fd://{file}")]
        self.stopping_since = 0.0
        self.process = subprocess.Popen(  # noqa: S603  the command is ours
            [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", *bind]
            + ["--workers", str(workers)],
            cwd=settings.BASE_DIR,
            env=variables,
            pass_fds=files,
            start_new_session=True,  # a terminal's Ctrl-C must reach it only from here
            preexec_fn=ending_with_parent(),
        )
        for number in SIGNALS:
            signal.signal(number, self.stop)
        for listener in listeners:
            listener.close()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """At the first signal let the running attempts finish, at the second do not."""
        now = time.monotonic()
        if not self.stopping_since:
            self.stopping_since = now
            self.process.terminate()
        elif now - self.stopping_since > TWICE_SECONDS:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGQUIT)

    def wait_until_up(self, url: str, token: str) -> dict[str, str] | None:
        """The signing keys that the server answers with, or None if it has ended."""
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
        """Wait for the end, and return the exit code as a shell would report it."""
        code = self.process.wait()
        return code if code >= 0 else 128 - code

    def end(self) -> None:
        """Stop the server, whatever went wrong in this process."""
        self.process.terminate()
        self.process.wait()


def ending_with_parent() -> Callable[[], None] | None:
    """What the child calls before it becomes gunicorn: on Linux, end if this process is killed."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
