"""Read a cron expression: in words, and as the moments that it names.

No message passes here. The queue has the last word on a schedule; what a page says of it while
a visitor types is worked out here, by the same library.
https://upstash.com/docs/qstash/features/schedules
"""

from datetime import UTC, datetime, tzinfo
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

LONGEST = 100
FIELDS = {
    "Bad minute": "a minute is a number from 0 to 59",
    "Bad hour": "an hour is a number from 0 to 23",
    "Bad day-of-month": "a day is a number from 1 to 31, and the month must have it",
    "Bad month": "a month is a number from 1 to 12, or JAN to DEC",
    "Bad day-of-week": "a weekday is a number from 0 to 7, or SUN to SAT",
}
ZONE = "CRON_TZ="


class CronError(ValueError):
    """A cron expression cannot be read, or never comes."""


class Reading(NamedTuple):
    """A cron expression in words, and its next moments in its time zone."""

    cron: str
    words: str
    next_runs: list[datetime]


def read(cron: str, now: datetime, count: int = 5) -> Reading:
    """Read `minute hour day month weekday`, in UTC unless it begins with `CRON_TZ=<IANA zone>`.

    `now` has a time zone. CronError says what is wrong with the expression.
    """
    cron = " ".join(cron.split())
    if len(cron) > LONGEST:
        raise CronError(f"That is longer than {LONGEST} characters.")
    if not cron.isprintable():
        raise CronError("That has characters that cannot be printed.")
    zone, fields = zone_and_fields(cron)
    try:
        moments = CronSim(fields, now.astimezone(zone))
        # In an hour that the clock repeats, the first moment found may be in the past.
        runs = list(islice((run for run in moments if run > now), count))
        words = moments.explain()
    except (CronSimError, ValueError, OverflowError) as error:
        why = FIELDS.get(str(error), "it is not cron")
        raise CronError(f"“{cron}” cannot be read: {why}.") from error
    if not runs:
        raise CronError(f"“{cron}” names no day of the next 50 years.")
    return Reading(cron, f"{words} ({zone})", runs)


def zone_and_fields(cron: str) -> tuple[tzinfo, str]:
    """The time zone of an expression and its five fields."""
    zone: tzinfo = UTC
    fields = cron
    if cron.startswith(ZONE):
        name, _, fields = cron.removeprefix(ZONE).partition(" ")
        try:
            zone = ZoneInfo(name)
        except (ValueError, OSError, KeyError) as error:
            raise CronError(f"There is no time zone “{name}”.") from error
    if len(fields.split()) != 5:
        raise CronError("Write five fields: minute, hour, day, month, weekday.")
    return zone, fields
