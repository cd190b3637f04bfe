"""What the programs of the tests share: ports that nobody takes meanwhile, and static files."""

import socket
from itertools import islice

import pytest

from harness.processes import MOST_WORKERS, PORTS_EACH, ROOT, collect_static, free_port, own_ports


@pytest.fixture
def new_ports():
    own_ports.cache_clear()
    yield
    own_ports.cache_clear()


@pytest.mark.usefixtures("new_ports")
def test_workers_share_no_port(monkeypatch):
    seen: set[int] = set()
    for number in range(MOST_WORKERS):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        own_ports.cache_clear()
        ports = set(islice(own_ports(), PORTS_EACH))
        assert len(ports) == PORTS_EACH
        assert not ports & seen
        seen |= ports


def test_port_is_not_given_twice_in_a_row():
    assert free_port() != free_port()


@pytest.mark.usefixtures("new_ports")
def test_port_that_somebody_listens_at_is_left_out(monkeypatch):
    taken, free = islice(own_ports(), 2)
    ports = iter([taken, free])
    monkeypatch.setattr("harness.processes.own_ports", lambda: ports)
    with socket.socket() as server:
        server.bind(("0.0.0.0", taken))  # noqa: S104
        server.listen()
        assert free_port() == free


def test_program_that_a_test_starts_leaves_the_static_files_alone():
    """A worker of another test may be reading them."""
    collected = {file: file.stat() for file in (ROOT / "staticfiles").rglob("*.css")}
    assert collected
    collect_static()
    assert all(file.stat() == before for file, before in collected.items())
