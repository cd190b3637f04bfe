"""Every call of the TypeScript SDK, from Node.

The checks are written in JavaScript (check_*.mjs). Node runs them all at once, each with an
account of its own; each is reported here as a test of its name.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import TOKENS, Facts
from tests.conftest import skip_or_fail

FOLDER = Path(__file__).parent
CHECK = re.compile(r'^  async "(.+)"\(', re.MULTILINE)
NAMES = [
    name for file in sorted(FOLDER.glob("check_*.mjs")) for name in CHECK.findall(file.read_text())
]


def run_checks(server: Facts) -> dict[str, dict]:
    """What each check has found, by its name."""
    if shutil.which("node") is None or not (FOLDER / "node_modules").exists():
        skip_or_fail(
            "QStash's TypeScript SDK is missing; enable with: npm ci --prefix tests/clients"
        )
    done = subprocess.run(
        ["node", FOLDER / "checks.mjs"],
        env=os.environ | {"QSTASH_URL": server["url"], "TOKENS": " ".join(TOKENS[-len(NAMES) :])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="session")
def checks(session_folder: Path, server: Facts) -> dict[str, dict]:
    """The outcome of all checks, run once even where pytest-xdist shares out the tests."""
    with (session_folder / "typescript.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        outcome = session_folder / "typescript.json"
        if not outcome.exists():
            outcome.write_text(json.dumps(run_checks(server)))
        return json.loads(outcome.read_text())


@pytest.mark.parametrize("name", NAMES)
def test_typescript_sdk(checks, name):
    check = checks.get(name, {"ok": False, "error": "the check did not run"})
    if not check["ok"]:
        pytest.fail(check["error"], pytrace=False)
