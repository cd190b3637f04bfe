"""The servers as people start them: `manage.py dev`, gunicorn, `manage.py run_dispatcher`."""

import http.client
import re
import signal

import psutil
import pytest
import requests
from django.conf import settings

from harness.processes import ROOT, START_SECONDS, site
from harness.sink import Sink
from harness.waiting import eventually


@pytest.fixture
def sink():
    with Sink() as running:
        yield running


def start_dev(site):
    process = site.start("manage.py", "dev", "--port", str(site.port), DEBUG="1", PUBLIC_URL="")
    site.wait_until_up(process)
    return process


def test_dev_migrates_serves_delivers_and_says_where(tmp_path):
    with site(tmp_path) as running:
        (tmp_path / "site.sqlite3").unlink()
        start_dev(running)
        assert running.click().until("succeeded")["steps_done"] == 10
        assert f"Open {running.url}/ and click. Queue: embedded." in running.log.read_text()


def test_dev_reloads_when_code_changes_and_the_job_goes_on(tmp_path, sink):
    with site(tmp_path, BROKER_LEASE_SECONDS="2", LONG_TASK_TARGET_URL=sink.url) as running:
        start_dev(running)
        visitor = running.click()
        eventually(lambda: len(sink.requests) >= 2)
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


def test_first_screen_of_dev_has_the_address_and_nothing_to_skip(tmp_path):
    with site(tmp_path) as running:
        start_dev(running)
        log = eventually(
            lambda: "dispatcher started" in (text := running.log.read_text()) and text,
            what="the dispatcher's start",
        )
    lines = [line for line in log.splitlines() if "dispatcher started" not in line]
    assert lines[0] == f"Open {running.url}/ and click. Queue: embedded. Stop with Ctrl-C."
    assert lines[1].startswith(f"For curl and other apps: QSTASH_URL={running.url} QSTASH_TOKEN=")
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


def test_ten_requests_reach_the_target_half_a_second_apart(tmp_path, sink):
    with site(tmp_path, LONG_TASK_TARGET_URL=sink.url) as running:
        running.start_web()
        running.click().until("succeeded")
    moments = [request["at"] for request in sink.requests]
    gaps = [later - earlier for earlier, later in zip(moments, moments[1:], strict=False)]
    assert len(moments) == 10
    assert min(gaps) >= 0.49


def test_every_request_has_the_body_and_a_key_of_its_own(tmp_path, sink):
    with site(tmp_path, LONG_TASK_TARGET_URL=sink.url) as running:
        running.start_web()
        visitor = running.click()
        visitor.until("succeeded")
    assert sink.keys == [f"{visitor.job_id}-{number}" for number in range(1, 11)]
    assert {request["body"] for request in sink.requests} == {b'{"hello": "world"}'}


def test_task_enqueued_in_a_shell_is_delivered_by_the_running_site(tmp_path, sink):
    enqueue = f"from jobs.tasks import long_task; print(long_task.enqueue({sink.url!r}).id)"
    with site(tmp_path) as running:
        running.start_web()
        job_id = running.manage("shell", "-c", enqueue).stdout.split()[-1]
        job = f"{running.url}/jobs/{job_id}"
        as_json = {"Accept": "application/json"}
        eventually(
            lambda: requests.get(job, headers=as_json, timeout=10).json()["status"] == "succeeded",
            what="the job's success",
        )
        running.environment["PUBLIC_URL"] = ""
        assert "Set PUBLIC_URL to its address" in running.manage("shell", "-c", enqueue).stderr
    assert sink.keys == [f"{job_id}-{number}" for number in range(1, 11)]


def test_waiting_tasks_hold_no_threads(tmp_path, sink):
    with site(tmp_path, LONG_TASK_TARGET_URL=sink.url) as running:
        web = running.start_web()
        visitors = [running.click() for _ in range(40)]
        eventually(lambda: len({key.partition("-")[0] for key in sink.keys}) == 40)
        (worker,) = psutil.Process(web.pid).children()
        threads = worker.num_threads()
        for visitor in visitors:
            visitor.until("succeeded")
    assert threads < 10


def test_healthz_reports_a_queue_that_is_not_running(tmp_path):
    with site(tmp_path, RUN_DISPATCHER="0") as running:
        running.start_web()
        visitor = running.click()
        health = eventually(
            lambda: (
                (answer := requests.get(f"{running.url}/healthz", timeout=5)).status_code == 503
                and answer.json()
            )
        )
        assert "queue is not running" in health["dispatcher"]
        page = visitor.http.get(running.url, timeout=5).text
        assert "The queue is not running" in page


def test_stopped_dispatcher_finishes_what_it_has_begun(tmp_path, sink):
    with site(tmp_path, RUN_DISPATCHER="0", LONG_TASK_TARGET_URL=sink.url) as running:
        running.start_web()
        dispatcher = running.start_dispatcher()
        visitor = running.click()
        eventually(lambda: len(sink.requests) >= 2)
        running.stop(dispatcher, signal.SIGTERM)
        assert visitor.job()["status"] == "succeeded"
        assert re.search(r"dispatcher stopped .*given_back=0", running.log.read_text())


def test_second_signal_gives_back_what_is_in_flight(tmp_path, sink):
    with site(tmp_path, RUN_DISPATCHER="0", LONG_TASK_TARGET_URL=sink.url) as running:
        running.start_web()
        dispatcher = running.start_dispatcher()
        visitor = running.click()
        eventually(lambda: len(sink.requests) >= 2)
        dispatcher.send_signal(signal.SIGTERM)
        dispatcher.send_signal(signal.SIGINT)
        dispatcher.wait(timeout=10)
        assert visitor.job()["status"] != "succeeded"
        running.start_dispatcher()
        assert visitor.until("succeeded")["steps_done"] == 10


def test_no_warning_is_printed_by_the_server(tmp_path):
    with site(tmp_path) as running:
        web = running.start_web()
        running.click().until("succeeded")
        running.stop(web)
        assert "Warning" not in running.log.read_text()
        assert "Traceback" not in running.log.read_text()


def test_huge_body_is_refused_before_it_fills_the_disk(tmp_path):
    with site(tmp_path) as running:
        running.start_web()
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
        connection.putrequest("POST", "/catcher/b/")
        connection.putheader("Content-Length", str(2**40))
        connection.endheaders()
        connection.send(b"x" * (settings.LARGEST_REQUEST + 1))
        assert connection.getresponse().status == 413
