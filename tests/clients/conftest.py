"""One real server for QStash's own clients, and an account of it for every test.

The clients publish to it over HTTP; its dispatcher delivers to a `Destination`. Accounts do
not see each other's data, so tests may run at the same time and count what they find.
"""

import asyncio
import fcntl
import inspect
import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from qstash import AsyncQStash, QStash, Receiver

from harness.processes import free_port, site
from harness.waiting import eventually
from tests.clients.destination import Destination, Received

# More than there are tests.
ACCOUNTS = {f"client{number}": f"token-{number}" for number in range(200)}
SITE_TOKEN = "token-of-the-site"
SITE_KEYS = {
    "QSTASH_CURRENT_SIGNING_KEY": "sig_7Current00000000000000000000",
    "QSTASH_NEXT_SIGNING_KEY": "sig_7Next00000000000000000000000",
}
# The last ones are for the checks in JavaScript, see test_typescript_sdk.py.
TOKENS = list(ACCOUNTS.values())


class Account(NamedTuple):
    """What a client must know: QSTASH_URL, QSTASH_TOKEN and the two signing keys."""

    url: str
    token: str
    current: str
    next: str

    def accepts(self, request: Received, url: str) -> None:
        """Have the SDK's receiver check a request; it raises SignatureError if it objects."""
        Receiver(self.current, self.next).verify(
            signature=request.headers["Upstash-Signature"], body=request.body.decode(), url=url
        )

    def http(self, method: str, path: str, **options: Any) -> requests.Response:
        """Ask the server without an SDK."""
        headers = {"Authorization": f"Bearer {self.token}"} | options.pop("headers", {})
        return requests.request(method, f"{self.url}{path}", headers=headers, timeout=20, **options)


class Awaited:
    """The asynchronous client with every call awaited, so that one test serves both."""

    def __init__(self, api: Any, run: Callable[[Any], Any]) -> None:
        self.api, self.run = api, run

    def __getattr__(self, name: str) -> Any:
        part = getattr(self.api, name)
        if inspect.iscoroutinefunction(part):
            return lambda *args, **options: self.run(part(*args, **options))
        return Awaited(part, self.run)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that pytest-xdist's workers have in common."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


type Facts = dict[str, str]


@contextmanager
def shared(note: Path, started: AbstractContextManager[Facts]) -> Iterator[Facts]:
    """What the first worker has started, for all of them; it is stopped when none uses it."""
    with (
        note.with_suffix(".starting").open("w") as starting,
        note.with_suffix(".users").open("w") as users,
    ):
        fcntl.flock(starting, fcntl.LOCK_EX)
        if note.exists():
            facts = json.loads(note.read_text())
            fcntl.flock(users, fcntl.LOCK_SH)
            fcntl.flock(starting, fcntl.LOCK_UN)
            yield facts
            return
        with started as facts:
            note.write_text(json.dumps(facts))
            fcntl.flock(starting, fcntl.LOCK_UN)
            yield facts
            fcntl.flock(starting, fcntl.LOCK_EX)
            note.unlink()  # who needs it from now on starts another
            fcntl.flock(starting, fcntl.LOCK_UN)
            fcntl.flock(users, fcntl.LOCK_EX)


@contextmanager
def started_server(folder: Path) -> Iterator[Facts]:
    """gunicorn with one worker: the queue under /v2/, and its dispatcher."""
    accounts = " ".join(f"{name}={token}" for name, token in ACCOUNTS.items())
    with site(folder, BROKER_ACCOUNTS=accounts, BROKER_TOKEN=SITE_TOKEN, **SITE_KEYS) as running:
        running.start_web()
        yield {"url": running.url, "database": str(folder / "site.sqlite3")}


@contextmanager
def started_queue(folder: Path) -> Iterator[Facts]:
    """`manage.py broker` as a developer starts it, and what it prints."""
    with site(folder) as running:
        arguments = ["--port", str(free_port()), "--in-memory"]
        process = running.start("manage.py", "broker", *arguments, DEBUG="1", SECRET_KEY="")

        def printed() -> dict[str, str]:
            assert process.poll() is None, running.log.read_text()
            lines = re.findall(r"^(QSTASH_\w+)=(.*)\n", running.log.read_text(), re.MULTILINE)
            return dict(lines) if len(lines) == 4 else {}

        yield eventually(printed, what="the queue's start")
        running.stop(process)


@pytest.fixture(scope="session")
def server(session_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facts]:
    """The URL and the database of a site that has all the accounts."""
    started = started_server(tmp_path_factory.mktemp("server"))
    with shared(session_folder / "server.json", started) as facts:
        yield facts


@pytest.fixture(scope="session")
def queue(session_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facts]:
    """The four variables of a queue for developers, with their published users."""
    started = started_queue(tmp_path_factory.mktemp("queue"))
    with shared(session_folder / "queue.json", started) as facts:
        yield facts


@pytest.fixture
def new_account(server: Facts, session_folder: Path) -> Callable[[], Account]:
    """Opens accounts in which nothing has happened yet."""

    def new_account() -> Account:
        with (session_folder / "accounts").open("ab", buffering=0) as used:
            used.write(b".")  # one byte an account, whichever worker takes it
            account = Account(server["url"], TOKENS[used.tell() - 1], "", "")
        keys = account.http("GET", "/v2/keys").json()
        return account._replace(current=keys["current"], next=keys["next"])

    return new_account


@pytest.fixture
def account(new_account: Callable[[], Account]) -> Account:
    return new_account()


@pytest.fixture
def destination() -> Iterator[Destination]:
    with Destination() as running:
        yield running


@pytest.fixture
def fire(server: Facts) -> Callable[[str], None]:
    """Makes a schedule due at once: its own next minute is too far off for a test."""

    def fire(schedule_id: str) -> None:
        with closing(sqlite3.connect(server["database"], timeout=20)) as database:
            moved = database.execute(
                "UPDATE broker_schedule SET next_at = ? WHERE schedule_id = ?",
                [time.time_ns() // 1_000_000, schedule_id],
            )
            database.commit()
            assert moved.rowcount == 1

    return fire


@pytest.fixture(params=["sync", "async"])
def qstash(
    request: pytest.FixtureRequest,
    account: Account,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """The Python SDK's two clients, called alike."""
    # Each client would read all root certificates, which takes 25 ms.
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path_factory.getbasetemp()))
    if request.param == "sync":
        client = QStash(account.token, base_url=account.url)
        yield client
        client.http._client.close()
        return
    with asyncio.Runner() as runner:
        client = AsyncQStash(account.token, base_url=account.url)
        yield Awaited(client, runner.run)
        runner.run(client.http._client.aclose())
