"""kill -9 at every step: the job still ends as succeeded, and no request is lost.

Real processes. What a kill may cost is the one request that was under way: it is sent again under
the same Idempotency-Key. What depends on how a database locks and commits is tried on both; the
rest on PostgreSQL. Killed at random, on both: tests/kill_rounds.py.
"""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.processes import Site, site
from harness.sink import Sink
from harness.visitor import Visitor
from harness.waiting import eventually

EXPECTED = [str(number) for number in range(1, 11)]
DATABASES = ["sqlite", "postgresql"]
# Whether a web process delivers to itself without a socket.
IN_PROCESS = ["1", "0"]


class House(NamedTuple):
    """A site whose dispatcher runs in a process of its own, and a target."""

    site: Site
    sink: Sink

    def sent(self, visitor: Visitor) -> Counter[str]:
        """How often each of the ten steps of the visitor's job reached the target."""
        parts = [key.rpartition("-") for key in self.sink.keys]
        return Counter(step for job_id, _, step in parts if job_id == visitor.job_id)


@contextmanager
def a_house(folder: Path, request: pytest.FixtureRequest, database: str) -> Iterator[House]:
    cluster = request.getfixturevalue("cluster") if database == "postgresql" else None
    url = cluster.new_database(template="site") if cluster else ""
    variables = {"BROKER_LEASE_SECONDS": "2", "RUN_DISPATCHER": "0"}
    with Sink() as sink, site(folder, url, LONG_TASK_TARGET_URL=sink.url, **variables) as running:
        yield House(running, sink)


@pytest.fixture
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """On PostgreSQL, or on the database that the test names."""
    with a_house(tmp_path, request, getattr(request, "param", "postgresql")) as house:
        yield house


@pytest.fixture(scope="module", params=DATABASES)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Its web process runs on; dispatchers come and go."""
    with a_house(tmp_path_factory.mktemp("served"), request, request.param) as house:
        house.site.start_web()
        yield house


def test_killed_web_process_costs_at_most_the_request_under_way(house):
    house.site.start_dispatcher()
    web = house.site.start_web()
    visitor = house.site.click()
    eventually(lambda: len(house.sink.requests) >= 4)
    house.site.stop(web, signal.SIGKILL)
    house.site.start_web()
    visitor.until("succeeded")
    assert sorted(house.sent(visitor), key=int) == EXPECTED
    assert house.sent(visitor).total() <= 11


@pytest.mark.parametrize("step", ["after-claim", "during-post"])
def test_killed_dispatcher_loses_nothing(served, step):
    visitor = served.site.click()
    victim = served.site.start("-m", "tests.killed_dispatcher", step)
    assert victim.wait(timeout=60) == -signal.SIGKILL
    dispatcher = served.site.start_dispatcher()
    visitor.until("succeeded")
    served.site.stop(dispatcher)
    assert sorted(served.sent(visitor), key=int) == EXPECTED
    assert served.sent(visitor).total() <= 11


def test_message_of_a_killed_dispatcher_is_settled_by_another(served):
    visitor = served.site.click()
    victim = served.site.start("-m", "tests.killed_dispatcher", "before-settle")
    assert victim.wait(timeout=60) == -signal.SIGKILL
    assert visitor.job()["status"] == "succeeded"
    dispatcher = served.site.start_dispatcher()
    page = f"{served.site.url}/jobs/{visitor.job_id}"
    eventually(lambda: "attempt 2: HTTP 200" in visitor.http.get(page, timeout=10).text)
    served.site.stop(dispatcher)
    assert served.sent(visitor).total() == 10


@pytest.mark.parametrize("in_process", IN_PROCESS)
@pytest.mark.parametrize("house", DATABASES, indirect=True)
def test_everything_killed_at_once_goes_on_after_a_restart(house, in_process):
    web = house.site.start_web(RUN_DISPATCHER="1", DELIVER_IN_PROCESS=in_process)
    visitor = house.site.click()
    eventually(lambda: len(house.sink.requests) >= 3)
    house.site.stop(web, signal.SIGKILL)
    house.site.start_web(RUN_DISPATCHER="1", DELIVER_IN_PROCESS=in_process)
    assert visitor.until("succeeded")["steps_done"] == 10
    assert house.sent(visitor).total() <= 11


@pytest.mark.parametrize("in_process", IN_PROCESS)
def test_terminated_server_lets_the_job_finish(house, in_process):
    web = house.site.start_web(RUN_DISPATCHER="1", DELIVER_IN_PROCESS=in_process)
    visitor = house.site.click()
    eventually(lambda: len(house.sink.requests) >= 3)
    house.site.stop(web, signal.SIGTERM)
    house.site.start_web()
    assert visitor.job()["status"] == "succeeded"
    assert house.sent(visitor) == Counter(EXPECTED)
