"""`manage.py broker`: the environment it gives its server, and the server as SDKs see it."""

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dj_database_url
import psutil
import pytest
import requests
from django.conf import settings
from django.core.management import CommandError, call_command

from broker.management.commands.broker import Command
from broker.standalone import (
    Arguments,
    CannotStart,
    checked_origin,
    database_for,
    listen,
    listen_for_log,
    url_of,
    variables_for,
)
from harness.processes import Site, free_port, site
from harness.sink import Sink
from harness.waiting import eventually
from jobs.signatures import verify
from jobsite.broker_settings import DEVELOPMENT_USERS
from jobsite.settings import flag

USER = DEVELOPMENT_USERS["defaultUser"]
BEARER = {"Authorization": f"Bearer {USER['token']}"}
CONSOLE = "https://console.example"


def listening_on(host: str) -> SimpleNamespace:
    """A stand-in for a socket, which only has an address."""
    return SimpleNamespace(getsockname=lambda: (host, 8080))


@pytest.fixture
def environment(settings, monkeypatch, tmp_path):
    """The environment of a server on an address, with these variables set."""
    monkeypatch.delenv("BROKER_DEV_USERS", raising=False)
    monkeypatch.delenv("SECRET_KEY")

    def environment(
        host: str,
        database: object = tmp_path / "b.sqlite3",
        development_users: bool = False,
        **given: str,
    ):
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        settings.BROKER_DEV_USERS_WANTED = flag("BROKER_DEV_USERS", default=True)
        return variables_for(listening_on(host), str(database), development_users)

    return environment


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_published_users_are_let_in_on_loopback(environment, host):
    assert environment(host)["BROKER_DEV_USERS"] == "1"


@pytest.mark.parametrize("host", ["10.0.0.1", "8.8.8.8", "::", "192.168.0.1"])
def test_published_users_are_let_in_nowhere_else(environment, host):
    assert environment(host, BROKER_DEV_USERS="1")["BROKER_DEV_USERS"] == "0"


def test_published_users_can_be_kept_out_on_loopback(environment):
    assert environment("127.0.0.1", BROKER_DEV_USERS="0")["BROKER_DEV_USERS"] == "0"


def test_published_users_are_let_in_anywhere_by_an_explicit_option(environment):
    assert environment("::", development_users=True)["BROKER_DEV_USERS"] == "1"
    with pytest.raises(CannotStart, match="contradicts BROKER_DEV_USERS=0"):
        environment("::", development_users=True, BROKER_DEV_USERS="0")


def test_secret_is_kept_beside_the_database(environment, tmp_path):
    told = environment("10.0.0.1")
    assert told["SECRET_KEY_FILE"] == str(tmp_path / "b.sqlite3.secret")
    assert "SECRET_KEY" not in told


def test_secret_of_a_postgresql_database_is_kept_in_the_current_folder(
    environment, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    told = environment("10.0.0.1", "postgresql://127.0.0.1/queue")
    assert told["SECRET_KEY_FILE"] == str(tmp_path / "broker.secret")


def test_secret_that_is_given_is_passed_on(environment):
    assert environment("10.0.0.1", SECRET_KEY="given")["SECRET_KEY"] == "given"


def test_published_users_need_no_secret_file(environment):
    assert environment("127.0.0.1")["SECRET_KEY"]


@pytest.mark.parametrize("name", ["b.sqlite3", "with blank.db", "50%?#&.db"])
def test_database_may_have_any_name(environment, tmp_path, name):
    url = environment("127.0.0.1", tmp_path / name)["DATABASE_URL"]
    assert dj_database_url.parse(url)["NAME"] == str(tmp_path / name)


def test_postgresql_url_is_passed_on(environment):
    url = "postgresql://me:secret@127.0.0.1/queue"
    assert environment("127.0.0.1", url)["DATABASE_URL"] == url


def test_settings_of_the_tutorial_site_do_not_matter(environment):
    told = environment("127.0.0.1", QSTASH_TOKEN="t", PUBLIC_URL="https://a.test", DEBUG="1")
    assert (told["QSTASH_TOKEN"], told["DEBUG"]) == ("", "0")
    assert told["PUBLIC_URL"] == "http://127.0.0.1:8080"


def test_other_variables_are_passed_on(environment):
    assert environment("127.0.0.1", BROKER_ACCOUNTS="a=b")["BROKER_ACCOUNTS"] == "a=b"


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8080"), ("::1", "http://[::1]:8080"),
     ("::", "http://[::1]:8080")],
)  # fmt: skip
def test_url_is_one_that_this_machine_can_reach(host, url):
    assert url_of(listening_on(host)) == url


def test_taken_port_is_told_in_the_words_sdks_look_for():
    with (
        Sink() as sink,
        pytest.raises(CommandError, match=r"address already in use.*:\d+$") as told,
    ):
        call_command("broker", port=sink.server.server_port)
    assert str(told.value).endswith(f":{sink.server.server_port}")


def test_folder_that_does_not_exist_is_named():
    with pytest.raises(CommandError, match="there is no folder /nowhere"):
        call_command("broker", port=0, database="/nowhere/broker.sqlite3")


def test_what_is_kept_in_memory_is_gone_whatever_happens():
    arguments = Arguments("127.0.0.1", 0, "", in_memory=True, workers=1)
    with pytest.raises(SystemExit), database_for(arguments) as database:
        Path(database).touch()
        raise SystemExit
    assert not Path(database).parent.exists()


def test_port_comes_from_the_reference_servers_variable(settings):
    settings.QSTASH_DEV_PORT = 9090
    assert Command().create_parser("manage.py", "broker").parse_args([]).port == 9090


class Broker:
    """A queue started from the command line, as on a new machine, and what it has printed."""

    def __init__(self, site: Site, *arguments: str, **environment: str) -> None:
        site.log.write_text("")
        new = {"DEBUG": "1", "SECRET_KEY": "", "PUBLIC_URL": ""}
        self.process = site.start("manage.py", "broker", *arguments, **new | environment)
        self.log = site.log
        eventually(self.is_up, 60, "the banner")
        self.told = dict(re.findall(r"^(QSTASH_\w+)=(.*)$", self.log.read_text(), re.MULTILINE))
        self.url = self.told["QSTASH_URL"]

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return "QSTASH_NEXT_SIGNING_KEY" in self.log.read_text()

    def publish(self, destination: str, **headers: str) -> str:
        """Publish `hello` and return its message id."""
        response = requests.post(
            f"{self.url}/v2/publish/{destination}",
            data=b"hello",
            headers={"Authorization": f"Bearer {self.told['QSTASH_TOKEN']}"} | headers,
            timeout=20,
        )
        return response.json()["messageId"]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A queue in memory; after a Ctrl-C nothing of it is left."""
    with site(tmp_path_factory.mktemp("broker")) as place:
        allowed = ["--allow-origin", CONSOLE, "--log-port", str(free_port())]
        running = Broker(place, "--port", "0", "--in-memory", *allowed)
        (server,) = psutil.Process(running.process.pid).children()
        file = Path(server.environ()["DATABASE_URL"].removeprefix("sqlite:///"))
        assert file.is_file()
        yield running
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=40) == 0
        assert not file.parent.exists()


@pytest.fixture
def log_server(broker: Broker) -> str:
    """The log server's URL, which the environment of the server names."""
    (server,) = psutil.Process(broker.process.pid).children()
    return f"http://127.0.0.1:{server.environ()['QSTASH_DEV_LOG_PORT']}"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


def arrived(sink: Sink, message_id: str) -> dict[str, Any]:
    """The request that delivered a message."""

    def look() -> list[dict[str, Any]]:
        return [r for r in sink.requests if r["headers"]["Upstash-Message-Id"] == message_id]

    (request,) = eventually(look)
    return request


def test_banner_is_the_one_sdks_look_for(broker):
    (line,) = re.findall(r"^.*runn+ing(?: at|\.).*$", broker.log.read_text(), re.MULTILINE)
    assert line == f"Upstash QStash development server is running at {broker.url}"


def test_environment_is_that_of_the_first_published_user(broker):
    assert broker.told == {
        "QSTASH_URL": broker.url,
        "QSTASH_TOKEN": USER["token"],
        "QSTASH_CURRENT_SIGNING_KEY": USER["current"],
        "QSTASH_NEXT_SIGNING_KEY": USER["next"],
    }


@pytest.mark.parametrize("name", DEVELOPMENT_USERS)
def test_published_users_have_their_published_keys(broker, name):
    user = DEVELOPMENT_USERS[name]
    url, token = f"{broker.url}/v2/keys", f"Bearer {user['token']}"
    keys = requests.get(url, headers={"Authorization": token}, timeout=5).json()
    assert keys == {"current": user["current"], "next": user["next"]}


def test_nobody_else_is_let_in(broker):
    headers = {"Authorization": f"Bearer {settings.BROKER_TOKEN}"}
    assert requests.get(f"{broker.url}/v2/keys", headers=headers, timeout=5).status_code == 401


@pytest.mark.parametrize("path", ["/", "/jobs/1", "/v2", "/v2/nothing", "/static/a.css"])
def test_whatever_is_not_the_queue_is_not_there(broker, path):
    answer = requests.post(broker.url + path, headers={"Host": "elsewhere.test"}, timeout=5)
    assert answer.status_code in {401, 404}
    assert answer.json()["error"]


def test_healthz_says_that_it_is_well(broker):
    def says_ok() -> bool:
        answer = requests.get(f"{broker.url}/healthz", timeout=5)
        return (answer.status_code, answer.json()["dispatcher"]) == (200, "ok")

    eventually(says_ok, what="the dispatcher's first sign of life")


def test_message_is_delivered_and_signed(broker, sink):
    request = arrived(sink, broker.publish(sink.url))
    assert request["body"] == b"hello"
    assert verify(request["headers"]["Upstash-Signature"], b"hello", sink.url, [USER["current"]])


def test_message_accepted_before_kill_9_is_delivered_after_it(tmp_path, sink):
    with site(tmp_path) as place:
        arguments = ["--port", str(place.port), "--database", str(tmp_path / "b.sqlite3")]
        killed = Broker(place, *arguments, BROKER_DEV_USERS="0")
        message_id = killed.publish(sink.url, **{"Upstash-Delay": "1s"})
        place.stop(killed.process, signal.SIGKILL)
        assert sink.requests == []
        again = Broker(place, *arguments, BROKER_DEV_USERS="0")
        assert arrived(sink, message_id)["body"] == b"hello"
        assert again.told == killed.told
        finish_at_sigterm(again, sink)


def finish_at_sigterm(broker: Broker, sink: Sink) -> None:
    """A message in flight is settled before the queue ends."""
    sink.answer = lambda request: time.sleep(1) or 200
    arrived(sink, broker.publish(sink.url))
    broker.process.send_signal(signal.SIGTERM)
    assert broker.process.wait(timeout=40) == 0
    assert broker.log.read_text().count("INFO broker.settling message delivered") == 2


PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,upstash-forward-x-a",
    "Access-Control-Request-Private-Network": "true",
}


def test_console_of_the_allowed_origin_may_use_the_queue(broker, sink):
    url = f"{broker.url}/v2/publish/{sink.url}"
    asked = requests.options(url, headers={"Origin": CONSOLE} | PREFLIGHT, timeout=5)
    assert asked.status_code == 200
    assert asked.headers["Access-Control-Allow-Origin"] == CONSOLE
    assert asked.headers["Access-Control-Allow-Headers"] == "authorization, *"
    assert "POST" in asked.headers["Access-Control-Allow-Methods"]
    assert asked.headers["Access-Control-Allow-Private-Network"] == "true"
    told = requests.post(url, data=b"x", headers={"Origin": CONSOLE} | BEARER, timeout=5)
    assert (told.status_code, told.headers["Access-Control-Allow-Origin"]) == (200, CONSOLE)
    assert "origin" in told.headers["Vary"].lower()
    assert "Access-Control-Allow-Credentials" not in told.headers


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "*", f"{CONSOLE}:444", "http://console.example"],
)
def test_pages_of_any_other_origin_may_not(broker, origin):
    url = f"{broker.url}/v2/keys"
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": origin} | PREFLIGHT | BEARER
        told = requests.request(method, url, headers=headers, timeout=5)
        assert "Access-Control-Allow-Origin" not in told.headers
        assert "origin" in told.headers["Vary"].lower()
    assert requests.get(url, headers={"Origin": origin} | BEARER, timeout=5).status_code == 403


@pytest.mark.parametrize("given", ["*", "null", "console.example", "https://a.test/", "file://x"])
def test_what_is_no_origin_cannot_be_allowed(given):
    with pytest.raises(CannotStart, match="is not an origin"):
        checked_origin(given)


def test_log_server_shows_what_has_happened_and_no_body(broker, sink, log_server):
    message_id = broker.publish(sink.url, **{"Upstash-Forward-X-Key": "hidden"})
    arrived(sink, message_id)

    def delivered() -> str:
        told = requests.get(f"{log_server}/", timeout=5)
        assert told.headers["Content-Type"] == "text/plain; charset=utf-8"
        return told.text if f"DELIVERED        {message_id}" in told.text else ""

    text = eventually(delivered, what="the line")
    assert f"CREATED          {message_id} POST {sink.url}\n" in text
    assert "hidden" not in text and "hello" not in text


def test_log_server_can_only_be_read(broker, sink, log_server):
    message_id = broker.publish(sink.url, **{"Upstash-Delay": "1h"})
    told = requests.delete(f"{log_server}/v2/messages/{message_id}", headers=BEARER, timeout=5)
    assert told.status_code == 405
    logged = requests.get(f"{log_server}/v2/events", headers=BEARER, timeout=5).json()["events"]
    assert [event["state"] for event in logged if event["messageId"] == message_id] == ["CREATED"]
    assert requests.get(f"{log_server}/v2/events", timeout=5).status_code == 401
    assert requests.get(f"{broker.url}/", timeout=5).status_code == 404


@pytest.mark.parametrize("headers", [{"Host": "rebound.example"}, {"Origin": "https://evil.test"}])
def test_log_server_is_not_for_pages_of_the_web(broker, log_server, headers):
    told = requests.get(f"{log_server}/", headers=headers, timeout=5)
    assert told.status_code == 403 and "Access-Control-Allow-Origin" not in told.headers


def test_queue_does_without_a_log_server_whose_port_is_taken():
    said = []
    with listen("127.0.0.1", 0) as queue, listen("127.0.0.1", 0) as other:
        assert listen_for_log(queue, other.getsockname()[1], said.append) is None
        assert listen_for_log(queue, 0, said.append) is None
        with listen("0.0.0.0", 0) as everywhere:  # noqa: S104  it is what must be refused
            assert listen_for_log(everywhere, None, said.append) is None
    assert len(said) == 1 and "address already in use" in said[0]
