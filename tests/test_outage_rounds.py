"""The short version of tests/outage_rounds.py.

The long one: `uv run python -m tests.outage_rounds --rounds 100 [--database postgresql]`.
"""

import subprocess
import sys

import pytest

from harness.postgresql import binaries
from harness.processes import ROOT
from tests.conftest import skip_or_fail
from tests.outage_rounds import COLUMNS

# Those that found most: a commit that nobody hears of, and a lock.
SHORT = {"sqlite": ["locked"], "postgresql": ["commits unanswered"]}


@pytest.mark.parametrize("database", SHORT)
def test_outage_loses_nothing_and_is_told_in_words(database):
    if database == "postgresql" and binaries() is None:
        skip_or_fail("PostgreSQL is not installed; enable with: apt-get install postgresql")
    only = [word for kind in SHORT[database] for word in ("--only", kind)]
    command = [sys.executable, "-m", "tests.outage_rounds", "--rounds", "1", "--seconds", "2"]
    done = subprocess.run(
        [*command, "--database", database, "--seed", "5", *only],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names, numbers = (line.split(" | ")[1:] for line in done.stdout.splitlines() if "|" in line[:3])
    found = dict(zip(names, numbers, strict=False))
    assert found["rounds"] == "1"
    assert int(found["accepted"]) > 0
    assert COLUMNS[-1] in found
