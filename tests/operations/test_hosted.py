"""What QStash's answer means for the messages that it will deliver."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from harness.processes import free_port
from operations.findings import OK, PROBLEM
from operations.hosted import ahead_of, hosted_finding, is_loopback, look_at_qstash

QSTASH, SITE = "https://qstash.upstash.io", "https://jobs.example.com"


@pytest.fixture
def keys(settings) -> dict[str, str]:
    settings.QSTASH_CURRENT_SIGNING_KEY, settings.QSTASH_NEXT_SIGNING_KEY = "sig_one", "sig_two"
    return {"current": "sig_one", "next": "sig_two"}


def test_same_keys_are_fine(keys):
    assert hosted_finding(QSTASH, 200, keys, SITE).state == OK


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"current": "sig_three"}, "every message is refused"),
        ({"current": "sig_two", "next": "sig_three"}, "a rotation would end delivery"),
    ],
)
def test_other_keys_are_a_problem_and_not_shown(keys, changed, words):
    finding = hosted_finding(QSTASH, 200, keys | changed, SITE)
    assert (finding.state, words in finding.words) == (PROBLEM, True)
    assert "sig_" not in str(finding)


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (401, {}, "does not accept QSTASH_TOKEN"),
        (404, {}, "answers HTTP 404"),
        (200, [], "not as QStash does"),
        (200, {"current": "sig_one"}, "not as QStash does"),
    ],
)
def test_other_answers_are_problems(keys, status, answer, words):
    assert words in hosted_finding(QSTASH, status, answer, SITE).words


@pytest.mark.parametrize("site", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:80"])
def test_qstash_reaches_no_loopback_address(keys, site):
    assert "public address" in hosted_finding(QSTASH, 200, keys, site).remedy
    assert hosted_finding("http://127.0.0.1:8080", 200, keys, site).state == OK
    assert not is_loopback(SITE)


def test_clock_is_read_from_the_date_header():
    now = 1_700_000_000_000
    date = format_datetime(datetime.fromtimestamp(now / 1000, UTC), usegmt=True)
    assert ahead_of(date, now + 900) == 0
    assert ahead_of(date, now + 9000) == -9000
    assert ahead_of(date, now - 9000) == 9000
    assert ahead_of("yesterday", now) is None


async def test_qstash_that_is_away_or_no_url_at_all(settings):
    settings.QSTASH_TOKEN, settings.QSTASH_URL = "t", f"http://127.0.0.1:{free_port()}"
    assert "cannot be reached" in (await look_at_qstash(SITE)).finding.words
    settings.QSTASH_URL = "qstash"
    assert (await look_at_qstash(SITE)).finding.state == PROBLEM
