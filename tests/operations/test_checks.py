"""`manage.py check --deploy` names what would go wrong online, and what to do about it."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.core import checks as django_checks

from harness.processes import Site, free_port
from jobsite.broker_settings import DEVELOPMENT_USERS
from operations import checks

PUBLISHED = DEVELOPMENT_USERS["testUser2"]
# A site as it should be: a public address, a proxy that is known, secrets of its own.
SOUND = {
    "PUBLIC_URL": "https://jobs.example.com",
    "ALLOWED_HOSTS": ["localhost", "jobs.example.com"],
    "PROXIES": 1,
    "SECURE_SSL_REDIRECT": True,
    "ON_HEROKU": False,
    "ON_RENDER": False,
    "QSTASH_TOKEN": "",
    "QSTASH_URL": "https://qstash.upstash.io",
    "QSTASH_CURRENT_SIGNING_KEY": "sig_one",
    "QSTASH_NEXT_SIGNING_KEY": "sig_two",
    "BROKER_ACCOUNTS": {"site": {"token": "own", "current": "sig_one", "next": "sig_two"}},
}

type Found = list[django_checks.CheckMessage]


@pytest.fixture
def find(settings, monkeypatch) -> Callable[..., Found]:
    """What the checks of this room say of a sound site with some settings changed."""

    def find(engine: str = "postgresql", **changes: Any) -> Found:
        database = settings.DATABASES["default"]
        monkeypatch.setitem(database, "ENGINE", f"django.db.backends.{engine}")
        for name, value in (SOUND | changes).items():
            setattr(settings, name, value)
        found = django_checks.run_checks(tags=["security"], include_deployment_checks=True)
        return [message for message in found if str(message.id).startswith("operations.")]

    return find


def ids(found: Found) -> list[str]:
    return [str(message.id) for message in found]


def test_sound_site_is_right(find):
    assert find() == []


def test_checks_are_for_deployment_only(find):
    find(ON_HEROKU=True, PROXIES=0)
    found = django_checks.run_checks(tags=["security"])
    assert [message for message in found if str(message.id).startswith("operations.")] == []


def test_every_message_has_an_id_of_its_own_and_a_hint():
    code = Path(checks.__file__).read_text()
    messages = re.findall(r"(?:Error|Warning)\(\n", code)
    found = re.findall(r'id="(operations\.[EW]\d+)"', code)
    assert len(messages) == len(found) == len(set(found)) == code.count("hint=") == 10


PUBLISHED_SETTINGS = [
    {"QSTASH_CURRENT_SIGNING_KEY": PUBLISHED["current"]},
    {"QSTASH_NEXT_SIGNING_KEY": PUBLISHED["next"]},
    {"BROKER_TOKEN": PUBLISHED["token"]},
    {"BROKER_ACCOUNTS": PUBLISHED["token"]},
    {"BROKER_READ_ONLY_TOKENS": PUBLISHED["token"]},
]


def as_settings(changes: dict[str, str]) -> dict[str, Any]:
    """An account's secret becomes a part of BROKER_ACCOUNTS, as in settings.py."""
    ((name, value),) = changes.items()
    site, other = SOUND["BROKER_ACCOUNTS"]["site"], {"token": "t", "current": "c", "next": "n"}
    match name:
        case "BROKER_TOKEN":
            return {"BROKER_ACCOUNTS": {"site": site | {"token": value}}}
        case "BROKER_ACCOUNTS":
            return {"BROKER_ACCOUNTS": {"site": site, "shop": other | {"token": value}}}
        case "BROKER_READ_ONLY_TOKENS":
            return {"BROKER_ACCOUNTS": {"site": site | {"read_only_token": value}}}
    return changes


@pytest.mark.parametrize("changes", PUBLISHED_SETTINGS, ids=lambda changes: next(iter(changes)))
@pytest.mark.parametrize("public_url", ["https://jobs.example.com", "http://10.0.0.7:8000", ""])
def test_published_secret_outside_loopback_is_refused_without_repeating_it(
    find, changes, public_url
):
    (error,) = find(**as_settings(changes), PUBLIC_URL=public_url)
    (name,), (secret,) = changes, changes.values()
    assert (error.id, error.level) == ("operations.E001", django_checks.ERROR)
    assert error.msg.startswith(f"{name} is one that QStash has published for development")
    assert secret not in error.msg + error.hint


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8000", "jobs.localhost"])
def test_published_secret_on_loopback_is_right(find, host):
    changes = {"QSTASH_NEXT_SIGNING_KEY": PUBLISHED["next"]}
    assert find(**changes, PUBLIC_URL=f"http://{host}") == []


PLATFORMS = pytest.mark.parametrize(
    ("platform", "name"), [("ON_HEROKU", "Heroku"), ("ON_RENDER", "Render")]
)


@PLATFORMS
def test_sqlite_on_a_disk_that_is_wiped_is_refused(find, platform, name):
    (error,) = find(engine="sqlite3", **{platform: True})
    assert (error.id, error.level) == ("operations.E002", django_checks.ERROR)
    assert f"{name} wipes the disk" in error.msg and "DATABASE_URL" in error.hint


def test_sqlite_on_a_server_of_ones_own_is_right(find):
    assert find(engine="sqlite3") == []


@PLATFORMS
def test_public_url_without_https_on_a_platform_is_refused(find, platform, name):
    (error,) = find(PUBLIC_URL="http://jobs.example.com", **{platform: True})
    assert (error.id, error.hint) == (
        "operations.E003",
        "Set PUBLIC_URL to https://jobs.example.com",
    )


def test_public_url_without_https_elsewhere_is_right(find):
    assert find(PUBLIC_URL="http://jobs.example.com", SECURE_SSL_REDIRECT=False) == []


def test_site_without_an_address_is_refused(find):
    (error,) = find(PUBLIC_URL="", ALLOWED_HOSTS=["localhost", "127.0.0.1", "[::1]"])
    assert error.id == "operations.E004" and "Set PUBLIC_URL" in error.hint


def test_site_with_a_host_name_needs_no_address(find):
    assert find(PUBLIC_URL="", ALLOWED_HOSTS=["localhost", "jobs.example.com"]) == []


@PLATFORMS
def test_no_proxies_on_a_platform_is_an_error(find, platform, name):
    (error,) = find(PROXIES=0, **{platform: True})
    assert (error.id, error.hint) == ("operations.E005", "Unset PROXIES.")


def test_no_proxies_elsewhere_is_a_warning_that_names_the_loop(find):
    (warning,) = find(PROXIES=0)
    assert (warning.id, warning.level) == ("operations.W001", django_checks.WARNING)
    assert "redirects to itself for ever" in warning.msg
    assert "Set PROXIES to the number of proxies" in warning.hint


def test_no_proxies_without_https_is_right(find):
    assert find(PROXIES=0, SECURE_SSL_REDIRECT=False) == []


def test_release_on_heroku_ends_with_what_is_wrong(tmp_path):
    site = Site(tmp_path, DYNO="release.1", PROXIES="", PUBLIC_URL="http://jobs.example.com")
    done = site.manage("check", "--deploy")
    assert done.returncode == 1
    assert re.findall(r"\(operations\.(\w+)\)", done.stderr) == ["E002", "E003"]


class Region:
    """A region of QStash: it answers /v2/keys, and nothing else."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.status, self.answer = 200, {"current": "sig_one", "next": "sig_two"}
        region = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                region.asked.append((self.path, self.headers["Authorization"]))
                body = json.dumps(region.answer).encode()
                self.send_response(region.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.hosted = {
            "QSTASH_TOKEN": "token-of-ours",
            "QSTASH_URL": f"http://127.0.0.1:{self.server.server_port}",
        }


@pytest.fixture
def region() -> Iterator[Region]:
    region = Region()
    thread = threading.Thread(target=region.server.serve_forever, args=[0.02])
    thread.start()
    yield region
    region.server.shutdown()
    thread.join()
    region.server.server_close()


def test_keys_that_belong_to_the_token_are_right(find, region):
    assert find(**region.hosted) == []
    assert region.asked == [("/v2/keys", "Bearer token-of-ours")]


def test_embedded_queue_asks_nobody(find, region):
    assert find(**region.hosted | {"QSTASH_TOKEN": ""}) == []
    assert region.asked == []


# As QStash answers, status and all, but for the user's id.
# https://upstash.com/docs/qstash/howto/multi-region
NO_USER = "user (1234) not found in this region (eu-central-1). Check that you are using the"


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_token_of_another_region_is_refused(find, region, status):
    region.status, region.answer = status, {"error": NO_USER}
    (error,) = find(**region.hosted)
    assert (error.id, error.level) == ("operations.E006", django_checks.ERROR)
    assert "does not know QSTASH_TOKEN" in error.msg and "(eu-central-1)" in error.msg
    assert "copy all four" in error.hint
    assert "token-of-ours" not in error.msg + error.hint


def test_keys_of_another_region_are_refused(find, region):
    region.answer = {"current": "sig_three", "next": "sig_four"}
    (error,) = find(**region.hosted)
    assert (error.id, error.level) == ("operations.E007", django_checks.ERROR)
    assert "every message would be refused" in error.msg
    assert not re.search("sig_", error.msg + error.hint)


@pytest.mark.parametrize(
    "keys", [("sig_two", "sig_three"), ("sig_one", "sig_three"), ("sig_two", "sig_one")]
)
def test_keys_that_were_rolled_once_still_work_and_are_a_warning(find, region, keys):
    region.answer = dict(zip(["current", "next"], keys, strict=True))
    (warning,) = find(**region.hosted)
    assert (warning.id, warning.level) == ("operations.W003", django_checks.WARNING)


@pytest.mark.parametrize(
    ("status", "answer"),
    [(500, {"error": "no"}), (429, {"error": "rate"}), (200, {"keys": []}), (200, ["no"])],
)
def test_what_qstash_does_not_tell_is_said_to_be_unknown(find, region, status, answer):
    region.status, region.answer = status, answer
    (warning,) = find(**region.hosted)
    assert (warning.id, warning.level) == ("operations.W002", django_checks.WARNING)
    assert "is not known" in warning.msg


def test_qstash_that_cannot_be_reached_stops_no_release(find):
    (warning,) = find(QSTASH_TOKEN="token", QSTASH_URL=f"http://127.0.0.1:{free_port()}")
    assert (warning.id, warning.level) == ("operations.W002", django_checks.WARNING)


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://qstash.upstash.io", "eu-central-1"),
        ("https://qstash-eu-central-1.upstash.io", "eu-central-1"),
        ("https://qstash-us-east-1.upstash.io", "us-east-1"),
    ],
)
def test_hint_says_which_region_an_address_is_of(url, region):
    assert checks.hint_for_region(url).startswith(f"QSTASH_URL is that of {region}. ")


def test_hint_for_an_address_of_no_region_does_not_guess():
    assert checks.hint_for_region("http://127.0.0.1:8080").startswith("Each region")
