"""Order and limits with three dispatchers at once, one of them killed, on both databases.

Real processes over real sockets: what counts is what the destination saw.
"""

import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from harness.processes import Site, site
from harness.sink import Sink
from harness.waiting import eventually

TOKEN = "token-of-the-order-test"
HANDLING_SECONDS = 0.02


class Watch:
    """A destination that notes who came when, and how many were there at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.order: dict[str, list[str]] = defaultdict(list)
        self.inside: dict[str, int] = defaultdict(int)
        self.most: dict[str, int] = defaultdict(int)

    def answer(self, request: dict[str, Any]) -> int:
        lane, number = request["path"].strip("/"), request["body"].decode()
        with self.lock:
            self.inside[lane] += 1
            self.most[lane] = max(self.most[lane], self.inside[lane])
        time.sleep(HANDLING_SECONDS)  # the work, during which another might come
        with self.lock:
            self.inside[lane] -= 1
            if int(number) % 7 == 3 and request["headers"]["Upstash-Retried"] == "0":
                return 500
            self.order[lane].append(number)
        return 200


@pytest.fixture(params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, Sink]]:
    url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else ""
    environment = {"BROKER_LEASE_SECONDS": "1", "BROKER_TOKEN": TOKEN, "RUN_DISPATCHER": "0"}
    with Sink() as sink, site(tmp_path, url, **environment) as running:
        yield running, sink


def call(site: Site, method: str, path: str, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {TOKEN}"} | options.pop("headers", {})
    answer = requests.request(
        method, f"{site.url}/v2/{path}", headers=headers, timeout=20, **options
    )
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


def batch(sink: Sink, lane: str, count: int, queue: str | None = None, **headers: str) -> list:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers |= {"Upstash-Retry-Delay": "50", "Upstash-Retries": "5"}
    return [
        {"destination": sink.url + lane, "headers": headers, "body": str(n), "queue": queue}
        for n in range(count)
    ]


def test_order_and_limits_hold_with_three_dispatchers_and_a_kill(house):
    site, sink = house
    watch = Watch()
    sink.answer = watch.answer
    site.start_web()
    call(site, "POST", "queues", json={"queueName": "three", "parallelism": 3})
    flow = "Upstash_Flow_Control_"
    messages = [
        *batch(sink, "one", 15, queue="one"),
        *batch(sink, "three", 20, queue="three"),
        *batch(sink, "two", 15, **{f"{flow}Key": "two", f"{flow}Value": "parallelism=2"}),
        *batch(sink, "rate", 9, **{f"{flow}Key": "rate", f"{flow}Value": "rate=5, period=1s"}),
    ]
    call(site, "POST", "batch", json=messages)
    dispatchers = [site.start_dispatcher() for _ in range(3)]
    eventually(lambda: len(watch.order["one"]) >= 3, 30)
    call(site, "POST", "queues/one/pause")
    site.stop(dispatchers[0], signal.SIGKILL)
    call(site, "POST", "queues/one/resume")
    expected = {"one": 15, "three": 20, "two": 15, "rate": 9}
    eventually(lambda: {k: len(set(v)) for k, v in watch.order.items()} == expected, 40)

    assert list(dict.fromkeys(watch.order["one"])) == [str(number) for number in range(15)]
    assert watch.most["one"] == 1
    assert watch.most["three"] == 3
    assert watch.most["two"] == 2
    assert max(starts_per_window(site)) <= 5


def starts_per_window(site: Site) -> list[int]:
    """How many attempts under the key `rate` began in each window of a second."""
    answer = call(site, "GET", "events?flowControlKey=rate&state=ACTIVE&count=1000")
    windows: list[list[int]] = []
    for moment in sorted(event["time"] for event in answer["events"]):
        if not windows or moment >= windows[-1][0] + 1000:
            windows.append([])
        windows[-1].append(moment)
    return [len(window) for window in windows]
