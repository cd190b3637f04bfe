"""An application in Node that knows what `manage.py broker` prints, or nothing.

With QSTASH_DEV=true QStash's SDK looks for a development server of its own; it finds ours in
its place and downloads nothing.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail
from tests.postgresql import free_port
from tests.processes import Site, eventually

FOLDER = Path(__file__).parent


@pytest.fixture(scope="module")
def banner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a queue in memory prints when it is up."""
    if shutil.which("node") is None or not (FOLDER / "node_modules").exists():
        skip_or_fail("QStash's TypeScript SDK is missing; enable: npm ci --prefix tests/clients")
    running, port = Site(tmp_path_factory.mktemp("broker")), free_port()
    process = running.start("manage.py", "broker", "--port", str(port), "--in-memory")

    def up() -> bool:
        assert process.poll() is None, running.log.read_text()
        return f"is running at http://127.0.0.1:{port}\n" in running.log.read_text()

    try:
        eventually(up, what="the queue's start")
        yield running.log.read_text()
        running.stop(process)
    finally:
        running.stop_all()


def said(banner: str) -> dict[str, str]:
    """The environment that a banner shows: its lines of the form QSTASH_…=…"""
    lines = [line.partition("=") for line in banner.splitlines() if line.startswith("QSTASH_")]
    return {name: value for name, _, value in lines}


def run_application(home: Path, **environment: str) -> str:
    """Run dev.mjs, which publishes to itself and verifies what comes; what it has printed."""
    done = subprocess.run(
        ["node", FOLDER / "dev.mjs"],
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_development_mode_finds_the_queue_and_downloads_nothing(banner, tmp_path):
    url = said(banner)["QSTASH_URL"]
    port = url.rpartition(":")[2]
    output = run_application(tmp_path, QSTASH_DEV="true", QSTASH_DEV_PORT=port)
    assert 'received {"hello":"world"}' in output
    assert f"Server already running at {url}" in output
    assert list(tmp_path.iterdir()) == []


def test_the_four_lines_of_the_banner_are_all_an_application_needs(banner, tmp_path):
    environment = said(banner)
    assert sorted(environment) == [
        "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "QSTASH_TOKEN", "QSTASH_URL"
    ]  # fmt: skip
    assert 'received {"hello":"world"}' in run_application(tmp_path, **environment)
