"""What the examples' tests share: the strangers of the jobs' tests, and sites of both kinds."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from harness.processes import Site, site
from tests.jobs.conftest import cloud, hosted, running_cloud, running_sink, sink

__all__ = ["cloud", "hosted", "running_cloud", "running_sink", "sink"]
TOKEN, KEYS = "token-of-the-cloud", ("sig_of_the_cloud", "sig_of_the_cloud_to_come")


@pytest.fixture(scope="module", params=["embedded", "hosted"])
def either(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A running site. A second instance of it stands in for hosted QStash, over HTTP."""
    keys = {"QSTASH_CURRENT_SIGNING_KEY": KEYS[0], "QSTASH_NEXT_SIGNING_KEY": KEYS[1]}
    with ExitStack() as stack:
        own = {}
        if request.param == "hosted":
            folder = tmp_path_factory.mktemp("cloud")
            cloud = stack.enter_context(site(folder, BROKER_TOKEN=TOKEN, **keys))
            cloud.start_web()
            own = {"QSTASH_URL": cloud.url, "QSTASH_TOKEN": TOKEN} | keys
        running = stack.enter_context(site(tmp_path_factory.mktemp(request.param), **own))
        running.start_web()
        yield running
