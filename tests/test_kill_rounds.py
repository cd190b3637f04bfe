"""The short version of tests/kill_rounds.py, and what it calls a finding.

The long one: `uv run python -m tests.kill_rounds --rounds 200 [--database postgresql]`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from harness.processes import ROOT, Site
from tests.kill_findings import Kill, Line, Story, examine, out_of_order

ACCEPTED = [(15, 200)]
ANSWERED = [Line(1, "CREATED", 5), Line(2, "ACTIVE", 10), Line(3, "DELIVERED", 20, "", 200)]
LOST_ONCE = [
    Line(1, "CREATED", 5),
    Line(2, "ACTIVE", 10),
    Line(3, "ERROR", 2000, "the attempt was lost"),
    Line(4, "ACTIVE", 2000),
    Line(5, "DELIVERED", 2020, "", 200),
]
BOTH = [(15, 200), (2010, 200)]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database with all tables."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql_url")
    return Site(tmp_path).prepare().environment["DATABASE_URL"]


def test_rounds_of_kills_lose_nothing_and_repeat_nothing_without_a_reason(database_url):
    command = [sys.executable, "-m", "tests.kill_rounds", "--rounds", "2"]
    done = subprocess.run(
        [*command, "--database", database_url], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| lost |" in " ".join(done.stdout.split())


def test_message_answered_once_is_no_finding():
    assert examine(Story("m", "DELIVERED", ANSWERED, ACCEPTED), []) == (0, 0, 0, [])


def test_message_that_never_arrived_is_lost():
    assert examine(Story("m", "DELIVERED", ANSWERED, []), []).lost == 1


def test_message_that_was_not_settled_is_lost():
    assert examine(Story("m", "RETRY", ANSWERED[:2], [(15, 500)]), []).lost == 1


def test_failed_message_without_a_dead_letter_is_lost():
    log = [*ANSWERED[:2], Line(3, "ERROR", 20, "HTTP 500", 500), Line(4, "FAILED", 20)]
    assert examine(Story("m", "FAILED", log, [(15, 500)]), []).lost == 1
    assert examine(Story("m", "FAILED", log, [(15, 500)], has_dead_letter=True), []).lost == 0


def test_second_delivery_is_explained_by_the_end_of_the_dispatcher_that_held_it():
    story = Story("m", "DELIVERED", LOST_ONCE, BOTH)
    assert examine(story, [Kill("dispatcher 1", 16, 17, frozenset({"m"}))]) == (0, 1, 1, [])


@pytest.mark.parametrize(
    "kill",
    [
        Kill("dispatcher 1", 16, 17, frozenset({"another"})),
        Kill("dispatcher 1", 3000, 3001, frozenset({"m"})),
        Kill("receiver", 2500, 2600),
        Kill("web", 16, 17),
    ],
)
def test_second_delivery_is_not_explained_by_other_kills(kill):
    [trouble] = examine(Story("m", "DELIVERED", LOST_ONCE, BOTH), [kill]).troubles
    assert "no kill explains it" in trouble


def test_two_arrivals_in_one_attempt_are_a_finding():
    [trouble] = examine(Story("m", "DELIVERED", ANSWERED, [(15, 200), (16, 200)]), []).troubles
    assert "arrived 2 times" in trouble


def test_message_delivered_after_its_end_is_a_finding():
    log = [*ANSWERED, Line(4, "ACTIVE", 30), Line(5, "DELIVERED", 40, "", 200)]
    [trouble] = examine(Story("m", "DELIVERED", log, [(15, 200), (35, 200)]), []).troubles
    assert "ended 2 times" in trouble


def test_queue_that_begins_a_message_too_early_is_a_finding():
    first = Story("m", "DELIVERED", ANSWERED, ACCEPTED, queue="q")
    early = Story("n", "DELIVERED", [Line(2, "ACTIVE", 10)], ACCEPTED, queue="q")
    late = Story("n", "DELIVERED", [Line(4, "ACTIVE", 30)], ACCEPTED, queue="q")
    assert out_of_order([first, late]) == []
    assert out_of_order([first, early]) == ["n began before m was over"]
