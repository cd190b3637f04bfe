"""The short form of tests/rolling_restart.py: workers and servers are replaced, nobody notices."""

import pytest

from tests.rolling_restart import Result, run_with_hangups, run_with_two_servers


def assert_nothing_lost(found: Result) -> None:
    assert found.clicks >= 10
    assert found.lost == []
    assert found.unfinished == []


def test_hangup_loses_no_click_and_no_job(tmp_path):
    assert_nothing_lost(run_with_hangups(tmp_path, restarts=1, rate=4, pause=0.5))


@pytest.mark.usefixtures("needs_nginx")
def test_one_of_two_servers_may_stop(tmp_path):
    assert_nothing_lost(run_with_two_servers(tmp_path, restarts=1, rate=4, pause=0.5))
