"""QStash's SDK in Node against `manage.py broker`, with its four variables or with QSTASH_DEV.

With QSTASH_DEV=true the SDK looks for QStash's development server. It finds ours instead, and
downloads nothing.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail

FOLDER = Path(__file__).parent


@pytest.fixture(autouse=True)
def node() -> None:
    if shutil.which("node") is None or not (FOLDER / "node_modules").exists():
        skip_or_fail("QStash's TypeScript SDK is missing; enable: npm ci --prefix tests/clients")


def run_application(home: Path, **environment: str) -> str:
    """Run dev.mjs, which publishes to itself and verifies what comes; what it printed."""
    done = subprocess.run(
        ["node", FOLDER / "dev.mjs"],
        env={"PATH": os.environ["PATH"], "HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_development_mode_finds_the_queue_and_downloads_nothing(queue, tmp_path):
    url = queue["QSTASH_URL"]
    port = url.rpartition(":")[2]
    output = run_application(tmp_path, QSTASH_DEV="true", QSTASH_DEV_PORT=port)
    assert 'received {"hello":"world"}' in output
    assert f"Server already running at {url}" in output
    assert list(tmp_path.iterdir()) == []


def test_the_four_lines_of_the_banner_are_all_an_application_needs(queue, tmp_path):
    assert 'received {"hello":"world"}' in run_application(tmp_path, **queue)
