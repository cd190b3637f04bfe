"""Counts of processes that have ended are kept, once."""

import os
import subprocess
import sys

import pytest

from operations.scraping import add_up_the_dead, is_alive, scrape
from tests.operations.conftest import read_metrics

COUNT = """
from prometheus_client import Counter, Histogram
Counter("things", "Things.", ["kind"]).labels("small").inc({0})
Histogram("sizes", "Sizes.", buckets=[1, 2]).observe({0})
"""


def count(folder, number: int) -> int:
    """Have a process count, and end; its process id."""
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    process = subprocess.Popen([sys.executable, "-c", COUNT.format(number)], env=environment)
    assert process.wait(60) == 0
    return process.pid


@pytest.mark.django_db(transaction=True)
def test_counts_of_the_dead_are_added_up_once(tmp_path):
    first = count(tmp_path, 1)
    assert (tmp_path / f"counter_{first}.db").exists()
    for added in (2, 0):
        if added:
            count(tmp_path, added)
        found = read_metrics(scrape(tmp_path).decode())
        assert found['things_total{kind="small"}'] == 3
        assert (found["sizes_count"], found["sizes_sum"]) == (2, 3)
        assert found['sizes_bucket{le="1.0"}'] == 1
    assert sorted(file.name for file in tmp_path.glob("*.db")) == ["counter_0.db", "histogram_0.db"]


def test_file_of_a_running_process_is_left_alone(tmp_path):
    count(tmp_path, 1)
    (file,) = tmp_path.glob("counter_*.db")
    file.rename(tmp_path / f"counter_{os.getpid()}.db")
    add_up_the_dead(tmp_path)
    assert (tmp_path / f"counter_{os.getpid()}.db").exists()
    assert not (tmp_path / "counter_0.db").exists()


def test_process_is_alive_until_it_has_ended():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert is_alive(process.pid)
    process.communicate(b"\n")
    assert not is_alive(process.pid)
    assert is_alive(1)  # perhaps another user's
