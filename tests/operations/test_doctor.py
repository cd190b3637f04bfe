"""The doctor at a real site: nothing to say when all is well, the remedy when something is not."""

import asyncio
import json
from collections.abc import Iterator

import pytest
import requests
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.db import transaction

from broker.accounts import rotate
from broker.clock import now_ms
from broker.models import Pulse
from harness.mail_server import MailServer
from harness.nginx import TLSProxy, running_nginx
from harness.processes import Site, free_port, site
from operations.doctor import clock_finding, examine, healthy, within
from operations.findings import OK, PROBLEM, UNKNOWN, Finding

KEYS = {
    name: getattr(django_settings, name)
    for name in ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "BROKER_TOKEN")
}
PASSWORD = "password of the operator"
SECRETS = {
    "BROKER_ACCOUNTS": "shop=secret-of-the-shop",
    "BROKER_TOKEN": "secret-of-the-broker",
    "CONSOLE_PASSWORD": "secret-of-the-console",
    "QSTASH_CURRENT_SIGNING_KEY": "sig_secretOfTheCurrentKey",
    "QSTASH_NEXT_SIGNING_KEY": "sig_secretOfTheNextKey",
    "QSTASH_TOKEN": "secret-of-qstash",
}
HIDDEN = [*SECRETS.values(), "secret-of-the-shop", "only-for-the-tests", "secret-of-the-database"]
HIDDEN += ["secret-of-the-mail"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site in which all is well."""
    with site(tmp_path_factory.mktemp("site"), CONSOLE_PASSWORD=PASSWORD, **KEYS) as running:
        running.start_web()
        yield running


@pytest.fixture
def asked(running, settings, transactional_db):
    """What the doctor finds in this process, whose own database has a dispatcher's sign of life."""
    settings.PUBLIC_URL = running.url
    Pulse.objects.create(dispatcher="one", seen_at=now_ms())

    async def asked(url: str = "") -> dict[str, Finding]:
        return {finding.name: finding for finding in await examine(url)}

    return asked


def bad(found: dict[str, Finding]) -> dict[str, str]:
    return {name: each.remedy for name, each in found.items() if each.state == PROBLEM}


def test_nothing_is_wrong_with_a_healthy_site(running):
    with MailServer() as server:
        mail = {"EMAIL_URL": server.url, "DEFAULT_FROM_EMAIL": "jobs@example.com"}
        running.environment |= mail
        done = running.manage("doctor", "--json")
    found = json.loads(done.stdout)
    assert {each["name"]: each["state"] for each in found["findings"]} == dict.fromkeys(
        ["Public URL", "Scheme and host", "Forms", "Signing keys", "Clock", "Database"]
        + ["Dispatcher", "Mail"],
        OK,
    )
    assert (found["healthy"], done.returncode, server.sent_to) == (True, 0, [])


def test_page_is_filled_by_the_only_process_which_meanwhile_answers_itself(running):
    with requests.Session() as browser:

        def press(path: str, **form: str) -> str:
            page = browser.get(f"{running.url}{path}", timeout=60)
            form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
            return browser.post(page.url, form, timeout=60).text

        press("/queue/doctor", password=PASSWORD, next="/queue/doctor")
        page = press("/queue/doctor")
    assert "No problem was found." in page
    assert page.count("<li>") >= 8


@pytest.mark.usefixtures("needs_nginx")
def test_everything_is_wrong_and_no_secret_is_printed_then_the_remedy_helps(tmp_path):
    """The proxy speaks TLS and says so, and the site does not believe it."""
    port = free_port()
    broken = SECRETS | {
        "DATABASE_URL": f"postgresql://me:secret-of-the-database@127.0.0.1:{port}/site",
        "DEFAULT_FROM_EMAIL": "jobs@example.com",
        "EMAIL_URL": f"smtp://me:secret-of-the-mail@127.0.0.1:{port}",
        "QSTASH_URL": f"http://127.0.0.1:{port}",
    }
    with site(tmp_path) as looping, TLSProxy(tmp_path, looping.port) as proxy:
        url = proxy.url
        looping.environment |= {"PUBLIC_URL": url, "SSL_CERT_FILE": str(proxy.certificate)}
        process, right = looping.start_web(), looping.environment
        looping.environment = right | broken
        done = looping.manage("doctor")
        looping.stop(process)
        looping.environment = right | {"PROXIES": "1"}
        looping.start_web()
        after = looping.manage("doctor")
    said = " ".join(done.stdout.split())
    assert f"{url} redirects to itself for ever" in said
    assert "Remedy: Set PROXIES to the number of proxies before the site" in said
    assert "problem Database: The database does not answer: " in said
    assert "problem Hosted QStash: " in said
    assert "problem Mail: The mail server cannot be used: " in said
    assert done.returncode == 1
    assert [secret for secret in HIDDEN if secret in done.stdout + done.stderr] == []
    assert f"seen as: {url}, proxies counted: 1, PROXIES: 1" in after.stdout
    assert (after.returncode, after.stdout.count("\nok  ")) == (0, 7), after.stdout


async def test_address_at_which_nothing_answers_is_a_problem(asked, settings):
    settings.PUBLIC_URL = f"http://127.0.0.1:{free_port()}"
    found = await asked()
    assert bad(found).keys() == {"Public URL"}
    assert f"{settings.PUBLIC_URL} cannot be reached" in found["Public URL"].words
    assert found["Signing keys"].state == UNKNOWN


async def test_site_that_does_not_run_without_a_public_url_is_no_problem(asked, settings):
    settings.PUBLIC_URL, settings.PORT = "", free_port()
    found = await asked()
    assert (found["Public URL"].state, bad(found)) == (UNKNOWN, {})
    assert "The site is not running here" in found["Public URL"].words


async def test_another_secret_is_found(asked, settings):
    settings.SECRET_KEY = "another-" * 8
    found = await asked()
    assert "another SECRET_KEY" in found["Public URL"].words
    assert found["Public URL"].state == PROBLEM


async def test_running_site_with_another_public_url_is_found(asked, running, settings):
    settings.PUBLIC_URL = running.url.replace("127.0.0.1", "localhost")
    found = await asked()
    assert bad(found)["Public URL"] == "Set it alike, and restart the site."


async def test_keys_that_were_rotated_in_the_queue_only_are_found(asked):
    assert bad(await asked()) == {}
    await rotated()
    found = await asked()
    assert bad(found).keys() == {"Signing keys"}
    assert "the next key signs is not accepted: HTTP 403" in found["Signing keys"].words
    await rotated()
    found = await asked()
    assert "the current key signs is not accepted: HTTP 403" in found["Signing keys"].words


@sync_to_async
def rotated() -> None:
    with transaction.atomic():
        rotate("site")


@pytest.mark.usefixtures("needs_nginx")
async def test_proxy_that_is_not_counted_is_found(asked, running, tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    headers = (
        "proxy_set_header Host $http_host;"
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    )
    listen = f"listen {url.removeprefix('http://')};"
    server = f"server {{ {listen} location / {{ proxy_pass {running.url}; {headers} }} }}"
    with running_nginx(tmp_path, server):
        found = await asked(url)
    assert bad(found).keys() == {"Scheme and host"}
    assert bad(found)["Scheme and host"].startswith("Set PROXIES=1: ")
    assert ("proxies counted", "1") in found["Scheme and host"].facts


async def test_site_without_a_dispatcher_is_found(asked):
    await Pulse.objects.all().adelete()
    found = await asked()
    assert "run_dispatcher" in bad(found)["Dispatcher"]


async def test_hosted_queue_is_asked_with_the_token(asked, running, settings):
    """Our own queue answers as QStash does."""
    settings.QSTASH_URL, settings.QSTASH_TOKEN = running.url, KEYS["BROKER_TOKEN"]
    assert bad(await asked()) == {}
    settings.QSTASH_NEXT_SIGNING_KEY = f"sig_{32 * '0'}"
    assert "a rotation would end delivery" in (await asked())["Hosted QStash"].words
    settings.QSTASH_TOKEN = "wrong"
    assert "does not accept QSTASH_TOKEN" in (await asked())["Hosted QStash"].words


async def test_check_that_does_not_end_is_given_up(monkeypatch):
    monkeypatch.setattr("operations.doctor.SECONDS", 0.01)
    late = Finding("Mail", PROBLEM, "late")
    assert await within(asyncio.sleep(60, late), late) is late


@pytest.mark.parametrize(
    ("offsets", "state"),
    [({}, UNKNOWN), ({"the site": 4900}, OK), ({"the site": 0, "QStash": -5100}, PROBLEM)],
)
def test_clocks_may_differ_by_as_much_as_a_signature_allows(offsets, state):
    assert clock_finding(offsets).state == state
    assert healthy([clock_finding(offsets)]) is (state != PROBLEM)
