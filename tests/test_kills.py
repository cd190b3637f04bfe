"""kill -9 at every step: the job still ends as succeeded, and no request is lost.

Real processes, on both databases. What a kill may cost is the one request that was under way:
it is sent again under the same Idempotency-Key.
"""

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.processes import Site, site
from harness.sink import Sink
from harness.waiting import eventually

EXPECTED = [str(number) for number in range(1, 11)]


@pytest.fixture(params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Site, Sink]]:
    """A site whose dispatcher runs in a process of its own, and a target."""
    url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else ""
    with (
        Sink() as sink,
        site(
            tmp_path,
            url,
            BROKER_LEASE_SECONDS="2",
            LONG_TASK_TARGET_URL=sink.url,
            RUN_DISPATCHER="0",
        ) as running,
    ):
        yield running, sink


def sent(sink: Sink) -> Counter[str]:
    """How often each of the ten steps reached the target."""
    return Counter(key.rpartition("-")[2] for key in sink.keys)


def test_killed_web_process_costs_at_most_the_request_under_way(house):
    site, sink = house
    site.start_dispatcher()
    web = site.start_web()
    visitor = site.click()
    eventually(lambda: len(sink.requests) >= 4)
    site.stop(web, signal.SIGKILL)
    site.start_web()
    visitor.until("succeeded")
    assert sorted(sent(sink), key=int) == EXPECTED
    assert sent(sink).total() <= 11


@pytest.mark.parametrize("step", ["after-claim", "during-post"])
def test_killed_dispatcher_loses_nothing(house, step):
    site, sink = house
    site.start_web()
    visitor = site.click()
    victim = site.start("-m", "tests.killed_dispatcher", step)
    assert victim.wait(timeout=30) == -signal.SIGKILL
    site.start_dispatcher()
    visitor.until("succeeded")
    assert sorted(sent(sink), key=int) == EXPECTED
    assert sent(sink).total() <= 11


def test_message_of_a_killed_dispatcher_is_settled_by_another(house):
    site, sink = house
    site.start_web()
    visitor = site.click()
    site.start("-m", "tests.killed_dispatcher", "before-settle").wait(timeout=30)
    assert visitor.job()["status"] == "succeeded"
    site.start_dispatcher()
    page = f"{site.url}/jobs/{visitor.job_id}"
    eventually(lambda: "attempt 2: HTTP 200" in visitor.http.get(page, timeout=10).text)
    assert sent(sink).total() == 10


def test_everything_killed_at_once_goes_on_after_a_restart(house):
    site, sink = house
    web = site.start_web(RUN_DISPATCHER="1")
    visitor = site.click()
    eventually(lambda: len(sink.requests) >= 3)
    site.stop(web, signal.SIGKILL)
    site.start_web(RUN_DISPATCHER="1")
    assert visitor.until("succeeded")["steps_done"] == 10
    assert sent(sink).total() <= 11


def test_terminated_server_lets_the_job_finish(house):
    site, sink = house
    web = site.start_web(RUN_DISPATCHER="1")
    visitor = site.click()
    eventually(lambda: len(sink.requests) >= 3)
    site.stop(web, signal.SIGTERM)
    site.start_web()
    assert visitor.job()["status"] == "succeeded"
    assert sent(sink) == Counter(EXPECTED)
