"""The short version of tests/outage_rounds.py.

The long one: `uv run python -m tests.outage_rounds --rounds 100 [--database postgresql]`.
"""

import subprocess
import sys

import pytest

from harness.processes import ROOT

# Those that found most: a commit that nobody hears of, and a lock.
SHORT = {"sqlite": ["locked"], "postgresql": ["commits unanswered"]}


@pytest.mark.parametrize("database", SHORT)
def test_outage_loses_nothing_and_is_told_in_words(database, request):
    url = request.getfixturevalue("postgresql_url") if database == "postgresql" else database
    only = [word for kind in SHORT[database] for word in ("--only", kind)]
    command = [sys.executable, "-m", "tests.outage_rounds", "--rounds", "1", "--seconds", "2"]
    done = subprocess.run(
        [*command, "--database", url, "--seed", "5", *only],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ")[1:] for line in done.stdout.splitlines() if line.startswith("| ")]
    found = dict(zip(*rows, strict=True))
    assert found["rounds"] == "1"
    assert int(found["accepted"]) > 0
