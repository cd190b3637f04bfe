"""The servers as people start them: `manage.py dev`, gunicorn, `manage.py run_dispatcher`.

To start one takes seconds, so tests that do it no harm share it.
"""

import http.client
import re
import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

import psutil
import pytest
import requests
from django.conf import settings

from harness.processes import ROOT, START_SECONDS, Site, site
from harness.sink import Sink
from harness.visitor import Visitor
from harness.waiting import eventually


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


class Dev(NamedTuple):
    """`manage.py dev` on an empty database, and what it had said before anybody came."""

    site: Site
    first_screen: list[str]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with site(tmp_path_factory.mktemp("dev")) as running:
        (running.folder / "site.sqlite3").unlink()
        start_dev(running)
        log = eventually(
            lambda: "dispatcher started" in (text := running.log.read_text()) and text,
            what="the dispatcher's start",
        )
        yield Dev(running, log.splitlines())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, sink: Sink) -> Iterator[Site]:
    """A site that runs, for tests that leave it running."""
    with site(tmp_path_factory.mktemp("served"), LONG_TASK_TARGET_URL=sink.url) as running:
        running.start_web()
        yield running


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory, sink: Sink) -> Iterator[Site]:
    """A site that runs without a dispatcher, for tests that start and stop one."""
    folder = tmp_path_factory.mktemp("halved")
    with site(folder, RUN_DISPATCHER="0", LONG_TASK_TARGET_URL=sink.url) as running:
        running.start_web()
        yield running


class Story(NamedTuple):
    """A site was started, did a job, and was stopped."""

    job_id: str
    requests: list[dict[str, Any]]
    log: str


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    with Sink() as sink, site(folder, LONG_TASK_TARGET_URL=sink.url) as running:
        web = running.start_web()
        visitor = running.click()
        visitor.until("succeeded")
        running.stop(web)
        return Story(visitor.job_id, sink.requests, running.log.read_text())


def of(visitor: Visitor, sink: Sink) -> list[str]:
    """The keys of a visitor's requests, in order of arrival."""
    return [key for key in sink.keys if key.startswith(visitor.job_id)]


def start_dev(site):
    process = site.start("manage.py", "dev", "--port", str(site.port), DEBUG="1", PUBLIC_URL="")
    site.wait_until_up(process)
    return process


def test_dev_migrates_serves_delivers_and_says_where(dev):
    assert dev.site.click().until("succeeded")["steps_done"] == 10
    assert f"Open {dev.site.url}/ and click. Queue: embedded." in dev.site.log.read_text()


def test_dev_reloads_when_code_changes_and_the_job_goes_on(tmp_path, sink):
    with site(tmp_path, BROKER_LEASE_SECONDS="2", LONG_TASK_TARGET_URL=sink.url) as running:
        start_dev(running)
        visitor = running.click()
        eventually(lambda: len(of(visitor, sink)) >= 2)
        (ROOT / "jobs/urls.py").touch()
        eventually(lambda: running.log.read_text().count("Open http") == 2)
        assert visitor.until("succeeded")["steps_done"] == 10


@pytest.mark.parametrize("reloading", [[], ["--noreload"]], ids=["reloading", "once"])
def test_dev_on_a_taken_port_names_it_and_the_remedy(tmp_path, sink, reloading):
    port = int(sink.url.rpartition(":")[2].strip("/"))
    with site(tmp_path) as running:
        process = running.start("manage.py", "dev", "--port", str(port), *reloading, DEBUG="1")
        assert process.wait(timeout=START_SECONDS) == 1
        said = running.log.read_text()
    assert said == (
        f"Error: port {port} is taken by another program. "
        f"Choose another one: manage.py dev --port {port + 1}\n"
    )


def test_first_screen_of_dev_has_the_address_and_nothing_to_skip(dev):
    lines = [line for line in dev.first_screen if "dispatcher started" not in line]
    url = dev.site.url
    assert lines[0] == f"Open {url}/ and click. Queue: embedded. Stop with Ctrl-C."
    assert lines[1].startswith(f"For curl and other apps: QSTASH_URL={url} QSTASH_TOKEN=")
    assert not [line for line in lines[2:] if "GET /healthz" not in line]


def test_dev_without_a_dispatcher_says_so(tmp_path):
    with site(tmp_path, RUN_DISPATCHER="0") as running:
        start_dev(running)
        said = running.log.read_text()
    assert "The dispatcher is switched off (RUN_DISPATCHER=0)" in said
    assert "manage.py run_dispatcher" in said


def test_dev_still_runs_the_system_checks(tmp_path):
    with site(tmp_path, QSTASH_TOKEN="token") as running:
        process = running.start("manage.py", "dev", "--noreload", DEBUG="1", PUBLIC_URL="")
        assert process.wait(timeout=START_SECONDS) == 1
        assert "SystemCheckError" in running.log.read_text()


def test_ten_requests_reach_the_target_half_a_second_apart(story):
    moments = [request["at"] for request in story.requests]
    gaps = [later - earlier for earlier, later in zip(moments, moments[1:], strict=False)]
    assert len(moments) == 10
    assert min(gaps) >= 0.49


def test_every_request_has_the_body_and_a_key_of_its_own(story):
    keys = [request["headers"]["Idempotency-Key"] for request in story.requests]
    assert keys == [f"{story.job_id}-{number}" for number in range(1, 11)]
    assert {request["body"] for request in story.requests} == {b'{"hello": "world"}'}


def test_no_warning_is_printed_by_the_server(story):
    assert "dispatcher stopped" in story.log
    assert "Warning" not in story.log
    assert "Traceback" not in story.log


def test_task_enqueued_in_a_shell_is_delivered_by_the_running_site(served, monkeypatch):
    with Sink() as sink:
        enqueue = f"from jobs.tasks import long_task; print(long_task.enqueue({sink.url!r}).id)"
        job_id = served.manage("shell", "-c", enqueue).stdout.split()[-1]
        job = f"{served.url}/jobs/{job_id}"
        as_json = {"Accept": "application/json"}
        eventually(
            lambda: requests.get(job, headers=as_json, timeout=10).json()["status"] == "succeeded",
            what="the job's success",
        )
        monkeypatch.setitem(served.environment, "PUBLIC_URL", "")
        assert "Set PUBLIC_URL to its address" in served.manage("shell", "-c", enqueue).stderr
        assert sink.keys == [f"{job_id}-{number}" for number in range(1, 11)]


def test_waiting_tasks_hold_no_threads(served, sink):
    visitors = [served.click() for _ in range(40)]
    eventually(lambda: all(of(visitor, sink) for visitor in visitors))
    (worker,) = psutil.Process(served.processes[0].pid).children()
    threads = worker.num_threads()
    for visitor in visitors:
        visitor.until("succeeded")
    assert threads < 10


def test_healthz_reports_a_queue_that_is_not_running(halved):
    visitor = halved.click()
    health = eventually(
        lambda: (
            (answer := requests.get(f"{halved.url}/healthz", timeout=5)).status_code == 503
            and answer.json()
        )
    )
    assert "queue is not running" in health["dispatcher"]
    page = visitor.http.get(halved.url, timeout=5).text
    assert "The queue is not running" in page


def test_stopped_dispatcher_finishes_what_it_has_begun(halved, sink):
    said_before = len(halved.log.read_text())
    dispatcher = halved.start_dispatcher()
    visitor = halved.click()
    eventually(lambda: len(of(visitor, sink)) >= 2)
    halved.stop(dispatcher, signal.SIGTERM)
    assert visitor.job()["status"] == "succeeded"
    said = halved.log.read_text()[said_before:]
    assert re.search(r"dispatcher stopped .*given_back=0", said)


def test_second_signal_gives_back_what_is_in_flight(halved, sink):
    dispatcher = halved.start_dispatcher()
    visitor = halved.click()
    eventually(lambda: len(of(visitor, sink)) >= 2)
    dispatcher.send_signal(signal.SIGTERM)
    dispatcher.send_signal(signal.SIGINT)
    dispatcher.wait(timeout=10)
    assert visitor.job()["status"] != "succeeded"
    another = halved.start_dispatcher()
    assert visitor.until("succeeded")["steps_done"] == 10
    halved.stop(another)


def test_huge_body_is_refused_before_it_fills_the_disk(served):
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.putrequest("POST", "/catcher/b/")
    connection.putheader("Content-Length", str(2**40))
    connection.endheaders()
    connection.send(b"x" * (settings.LARGEST_REQUEST + 1))
    assert connection.getresponse().status == 413
