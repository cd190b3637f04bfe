"""A job in a real browser on Heroku and on Render, as far as they can be had here.

The commands and variables are those of Procfile, app.json and render.yaml; PostgreSQL is real; the
TLS proxy is nginx as docs/deploy.md has it, on another address. The dispatcher trusts its
certificate by OpenSSL's own variable.
"""

import fcntl
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from harness.nginx import TLSProxy
from harness.platforms import (
    Running,
    blueprint,
    build,
    heroku_variables,
    machine,
    procfile,
    render_variables,
    run,
    uncompiled,
)
from harness.processes import ROOT, START_SECONDS, free_port
from harness.waiting import eventually
from tests.browser.conftest import Browse, start_job

(NGINX,) = re.findall(
    r"^```nginx\n(.*?)^```", (ROOT / "docs/deploy.md").read_text(), re.MULTILINE | re.DOTALL
)
type Start = Callable[..., Running]


@pytest.fixture
def project(needs_nginx: None, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A copy of the project, built; by the first of the workers that needs it."""
    ours = tmp_path_factory.getbasetemp()
    folder = (ours if worker_id == "master" else ours.parent) / "platforms"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "project").exists():
            build(folder)
    return folder / "project"


@pytest.fixture
def empty_database(cluster) -> str:
    """The URL of a database without tables."""
    return cluster.new_database(template="template1")


@pytest.fixture
def proxy(project: Path, tmp_path: Path) -> Iterator[TLSProxy]:
    with TLSProxy(tmp_path, free_port(), NGINX) as running:
        yield running


@pytest.fixture
def start(project: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts a command with these variables in the built project."""
    started: list[Running] = []

    def start(command: str, environment: dict[str, str]) -> Running:
        running = Running(command, project, environment, tmp_path / f"log-{len(started)}")
        started.append(running)
        return running

    yield start
    for running in started:
        running.kill()


def wait_until_up(proxy: TLSProxy, web: Running) -> None:
    def up() -> bool:
        assert web.process.poll() is None, web.log
        answer = requests.get(f"{proxy.url}/healthz", verify=proxy.certificate, timeout=30)
        return answer.status_code == 200

    eventually(up, START_SECONDS, "the site's start")


def see_a_job_through(browse: Browse, proxy: TLSProxy) -> None:
    """Click, and wait until the job has succeeded; the cookies never travel in the clear."""
    page = browse(proxy.url, ignore_https_errors=True)
    job_id = start_job(page)
    expect(page.locator(f"#state-{job_id}")).to_have_text("succeeded", timeout=60_000)
    cookies = {cookie["name"]: cookie["secure"] for cookie in page.context.cookies()}
    assert cookies == {"sessionid": True, "csrftoken": True}
    assert page.url == f"{proxy.url}/"
    page.close()


def check_queue(proxy: TLSProxy, token: str) -> None:
    """Every message went to the public address; an unsigned one is refused there."""
    trust = proxy.certificate
    log, bearer = f"{proxy.url}/v2/events", {"Authorization": f"Bearer {token}"}
    events = requests.get(log, headers=bearer, verify=trust, timeout=30).json()["events"]
    assert {event["url"] for event in events} == {f"{proxy.url}/api/long-task"}
    assert events[0]["state"] == "DELIVERED"
    url, forged = f"{proxy.url}/api/long-task", {"Upstash-Signature": "e30.e30.e30"}
    answer = requests.post(url, json={}, headers=forged, verify=trust, timeout=30)
    assert answer.status_code == 403


def test_build_leaves_nothing_to_compile(project: Path):
    assert uncompiled(project) == []


def test_heroku(browse: Browse, project: Path, empty_database: str, proxy: TLSProxy, start: Start):
    commands = procfile()
    variables = machine(project / ".venv/bin") | heroku_variables(empty_database)
    variables |= {
        "HEROKU_APP_DEFAULT_DOMAIN_NAME": proxy.host,
        "PORT": str(proxy.site_port),
        "SSL_CERT_FILE": str(proxy.certificate),
    }
    released = run(commands["release"], project, variables | {"DYNO": "release.1"})
    assert released.returncode == 0, released.stdout
    assert "Applying jobs.0001" in released.stdout and "WARNINGS" not in released.stdout
    web = start(commands["web"], variables | {"DYNO": "web.1"})
    worker = start(commands["worker"], variables | {"DYNO": "worker.1"})
    wait_until_up(proxy, web)
    see_a_job_through(browse, proxy)
    check_queue(proxy, variables["BROKER_TOKEN"])
    eventually(lambda: "dispatcher started" in worker.log, what="the worker's start")
    web.stop(everybody=True)
    worker.stop(everybody=True)
    for log in (web.log, worker.log):
        assert "dispatcher stopped" in log and "Traceback" not in log and "redirect loop" not in log


def test_render(browse: Browse, project: Path, empty_database: str, proxy: TLSProxy, start: Start):
    (service,) = blueprint()["services"]
    variables = machine() | render_variables(empty_database)
    variables |= {
        "RENDER": "true",
        "RENDER_EXTERNAL_URL": proxy.url,
        "PORT": str(proxy.site_port),
        "SSL_CERT_FILE": str(proxy.certificate),
    }
    web = start(service["startCommand"], variables)
    wait_until_up(proxy, web)
    assert "Applying jobs.0001" in web.log
    see_a_job_through(browse, proxy)
    check_queue(proxy, variables["BROKER_TOKEN"])
    assert web.stop(everybody=False) == 0
    assert "dispatcher stopped" in web.log
    assert "Traceback" not in web.log and "redirect loop" not in web.log
