"""A cron expression in words, and its next moments."""

from datetime import UTC, datetime

import pytest

from broker.firing import next_moment
from recipes.cron import CronError, read

NOW = datetime(2026, 11, 25, 10, 20, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("* * * * *", "Every minute (UTC)"),
        ("30 4 * * 1-5", "At 04:30 on Monday through Friday (UTC)"),
        (" 0   9 L * * ", "At 09:00 on the last day of every month (UTC)"),
        ("CRON_TZ=Europe/Berlin 30 4 * * *", "At 04:30 every day (Europe/Berlin)"),
    ],
)
def test_expression_is_read_back_in_words(cron, words):
    assert read(cron, NOW).words == words


def test_next_five_runs_are_the_minutes_to_come():
    runs = read("* * * * *", NOW).next_runs
    assert [run.strftime("%H:%M:%S") for run in runs] == [f"10:{n}:00" for n in range(21, 26)]


def test_runs_are_in_the_zone_of_the_expression():
    (run,) = read("CRON_TZ=Asia/Tokyo 0 9 * * *", NOW, count=1).next_runs
    assert run.astimezone(UTC) == datetime(2026, 11, 26, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "cron", ["* * * * *", "7 3 * * SUN", "CRON_TZ=America/New_York 30 1 1 * *"]
)
def test_first_run_is_the_queues_next_moment(cron):
    (run,) = read(cron, NOW, count=1).next_runs
    assert run.timestamp() * 1000 == next_moment(cron, round(NOW.timestamp() * 1000))


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("", "Write five fields"),
        ("* * * *", "Write five fields"),
        ("* * * * * *", "Write five fields"),
        ("61 * * * *", "“61 * * * *” cannot be read: a minute is a number from 0 to 59"),
        ("0 0 30 2 *", "a day is a number from 1 to 31, and the month must have it"),
        ("@daily a b c d", "cannot be read"),
        ("CRON_TZ=No/Where * * * * *", "There is no time zone “No/Where”"),
        ("CRON_TZ=../../etc/passwd * * * * *", "There is no time zone"),
        ("* " * 60, "longer than 100"),
        ("* * * * \0", "cannot be printed"),
    ],
    ids=lambda value: value[:20].replace("\0", "NUL"),
)
def test_what_cannot_be_read_is_refused_in_words(cron, words):
    with pytest.raises(CronError, match=words.replace("*", r"\*")):
        read(cron, NOW)
