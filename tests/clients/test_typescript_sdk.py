"""The TypeScript SDK drives the queue from Node, through every call that it has.

The checks are written in JavaScript (check_*.mjs); Node runs them all at once, each with an
account of its own, and each is reported here as a test by its name.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.processes import Site
from tests.clients.conftest import ACCOUNTS
from tests.conftest import skip_or_fail

FOLDER = Path(__file__).parent
CHECK = re.compile(r'^  async "(.+)"\(', re.MULTILINE)
NAMES = [
    name for file in sorted(FOLDER.glob("check_*.mjs")) for name in CHECK.findall(file.read_text())
]


def run_checks(server: Site) -> dict[str, dict]:
    """What each check has found, by its name."""
    if shutil.which("node") is None or not (FOLDER / "node_modules").exists():
        skip_or_fail(
            "QStash's TypeScript SDK is missing; enable with: npm ci --prefix tests/clients"
        )
    tokens = list(ACCOUNTS.values())[-len(NAMES) :]
    done = subprocess.run(
        ["node", FOLDER / "checks.mjs"],
        env=os.environ | {"QSTASH_URL": server.url, "TOKENS": " ".join(tokens)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="session")
def checks(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str, request: pytest.FixtureRequest
) -> dict[str, dict]:
    """The outcome of all checks, run once even where pytest-xdist shares out the tests."""
    base = tmp_path_factory.getbasetemp()
    folder = base if worker_id == "master" else base.parent
    with (folder / "typescript.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = folder / "typescript.json"
        if not outcome.exists():
            found = run_checks(request.getfixturevalue("server"))
            outcome.write_text(json.dumps(found))
        return json.loads(outcome.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_typescript_sdk(checks, name):
    check = checks.get(name, {"ok": False, "error": "the check did not run"})
    if not check["ok"]:
        pytest.fail(check["error"], pytrace=False)
