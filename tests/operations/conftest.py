"""A site that is watched: two workers and a dispatcher beside them, metrics on, the log as JSON."""

import fcntl
import json
import re
import signal
from typing import Any

import psutil
import pytest
import requests

from harness.processes import START_SECONDS, site
from harness.sink import Sink
from harness.waiting import eventually

TOKEN = "only-for-prometheus"
SERIES = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def read_metrics(text: str) -> dict[str, float]:
    """The series of a text in Prometheus' format, by name and labels as they stand there."""
    found = SERIES.findall(text)
    return {
        f"{name}{{{labels}}}" if labels else name: float(value) for name, labels, value in found
    }


def ask_for_metrics(url: str, token: str = TOKEN) -> requests.Response:
    return requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {token}"}, timeout=30)


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Any]:
    """What a site has said that ran three jobs: its metrics before and after, its log, an id.

    The first of pytest-xdist's workers to need it runs the site for all.
    """
    ours = tmp_path_factory.getbasetemp()
    note = (ours if worker_id == "master" else ours.parent) / "watched"
    with note.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            note.write_text(json.dumps(watch(tmp_path_factory)))
    return json.loads(note.read_text())


def watch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("watched")
    variables = {
        "DELIVER_IN_PROCESS": "0",  # for gunicorn's access log
        "LOG_FORMAT": "json",
        "METRICS_TOKEN": TOKEN,
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
        "PROXIES": "1",
        "WEB_CONCURRENCY": "2",
    }
    with Sink() as sink, site(folder, LONG_TASK_TARGET_URL=sink.url, **variables) as running:
        web = running.start("-m", "gunicorn", "--access-logfile", "-")
        running.wait_until_up(web)
        before = ask_for_metrics(running.url).text
        asked = requests.get(running.url, headers={"X-Request-Id": "from-the-proxy"}, timeout=30)
        dispatcher = running.start_dispatcher()
        eventually(
            lambda: read_metrics(ask_for_metrics(running.url).text)["queue_dispatchers"] == 3,
            seconds=START_SECONDS,
            what="three dispatchers",
        )
        visitors = [running.click() for _ in range(3)]
        for visitor in visitors:
            visitor.until("succeeded")

        def all_counted() -> str:
            text = ask_for_metrics(running.url).text
            counted = read_metrics(text)
            done = counted['queue_attempts_total{outcome="delivered"}'] == 3
            return text if done and counted['queue_messages{state="delivered"}'] == 3 else ""

        after = eventually(all_counted, what="three deliveries in the metrics")
        running.stop(dispatcher)
        restarted = restart_workers(running, web)
        running.stop(web)
        return {
            "before": before,
            "after": after,
            "restarted": restarted,
            "log": running.log.read_text(),
            "jobs": [visitor.job_id for visitor in visitors],
            "request_id": asked.headers["X-Request-Id"],
        }


def restart_workers(running: Any, web: Any) -> str:
    """Have gunicorn replace its workers, and read the metrics once the old ones are gone."""
    old = psutil.Process(web.pid).children()
    web.send_signal(signal.SIGHUP)
    eventually(lambda: not any(child.is_running() for child in old), what="the old workers' end")
    return ask_for_metrics(running.url).text
