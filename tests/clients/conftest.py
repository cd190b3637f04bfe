"""One real server for QStash's own clients, and an account of it for every test.

The clients publish to it over HTTP; its dispatcher delivers to a `Destination`. Accounts do
not see each other's data, so tests may run at the same time and count what they find.
"""

import asyncio
import inspect
import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import pytest
import requests
from qstash import AsyncQStash, QStash, Receiver

from tests.clients.destination import Destination, Received
from tests.processes import Site, site

# More than there are tests; each worker of pytest-xdist counts through them by itself.
ACCOUNTS = {f"client{number}": f"token-{number}" for number in range(200)}
SITE_TOKEN = "token-of-the-site"
SITE_KEYS = {
    "QSTASH_CURRENT_SIGNING_KEY": "sig_7Current00000000000000000000",
    "QSTASH_NEXT_SIGNING_KEY": "sig_7Next00000000000000000000000",
}
unused_tokens = itertools.cycle(ACCOUNTS.values())


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
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """gunicorn with one worker: the queue under /v2/, and its dispatcher."""
    accounts = " ".join(f"{name}={token}" for name, token in ACCOUNTS.items())
    with site(
        tmp_path_factory.mktemp("clients"),
        BROKER_ACCOUNTS=accounts,
        BROKER_TOKEN=SITE_TOKEN,
        **SITE_KEYS,
    ) as running:
        running.start_web()
        yield running


@pytest.fixture
def new_account(server: Site) -> Callable[[], Account]:
    """Opens accounts in which nothing has happened yet."""

    def new_account() -> Account:
        account = Account(server.url, next(unused_tokens), "", "")
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
def fire(server: Site) -> Callable[[str], None]:
    """Makes a schedule due at once: its own next minute is too far off for a test."""

    def fire(schedule_id: str) -> None:
        with closing(sqlite3.connect(server.folder / "site.sqlite3", timeout=20)) as database:
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
