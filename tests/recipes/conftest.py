"""Sites of both kinds: one with the embedded queue, one with hosted QStash in another process."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from harness.processes import Site, site

TOKEN, KEYS = "token-of-the-cloud", ("sig_of_the_cloud", "sig_of_the_cloud_to_come")


@pytest.fixture(scope="module", params=["embedded", "hosted"])
def either(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A running site. A second instance of it stands in for hosted QStash, over HTTP."""
    keys = {"QSTASH_CURRENT_SIGNING_KEY": KEYS[0], "QSTASH_NEXT_SIGNING_KEY": KEYS[1]}
    with ExitStack() as stack:
        hosted = {}
        if request.param == "hosted":
            folder = tmp_path_factory.mktemp("cloud")
            cloud = stack.enter_context(site(folder, BROKER_TOKEN=TOKEN, **keys))
            cloud.start_web()
            hosted = {"QSTASH_URL": cloud.url, "QSTASH_TOKEN": TOKEN} | keys
        running = stack.enter_context(site(tmp_path_factory.mktemp(request.param), **hosted))
        running.start_web()
        yield running
