"""Make, pause, resume and delete schedules.

A schedule is a publish request that is stored: here its options are selected and its first
moment is found; firing.py publishes it whenever it is due. Its messages are delivered whatever
happens to the schedule.
"""

from typing import NamedTuple

from django.conf import settings
from django.db.models import QuerySet

from broker import wakeup
from broker.changes import refusable
from broker.errors import LimitReached, NotFound, Rejected
from broker.firing import next_moment
from broker.headers import RESERVED
from broker.ids import new_id
from broker.models import Schedule
from broker.options import FORWARD, OWN_TO_CLIENT, Options, checked_name, text, yes
from broker.publishing import Publication

LONGEST_CRON = 255
ABOUT_THE_SCHEDULE = {"upstash-cron", "upstash-schedule-id", "upstash-header-forward"}
TELEMETRY = "upstash-telemetry-"


class ScheduleChange(NamedTuple):
    """Whose schedule is changed, and when, in unix ms."""

    account: str
    schedule_id: str
    now: int

    def schedule(self) -> QuerySet[Schedule]:
        return Schedule.objects.filter(account=self.account, schedule_id=self.schedule_id)


def new_schedule(asked: Publication, now: int) -> Schedule:
    """An unsaved schedule from a request to publish something again and again.

    Rejected if its cron expression or its id is wrong; what it publishes is not checked.
    """
    if "upstash-not-before" in asked.options:
        raise Rejected("Upstash-Not-Before: a schedule has its moments from Upstash-Cron")
    schedule_id = text(asked.options, "upstash-schedule-id") or new_id("scd")
    cron = checked_cron(text(asked.options, "upstash-cron"))
    return Schedule(
        account=asked.account,
        schedule_id=checked_name(schedule_id, "Upstash-Schedule-Id"),
        cron=cron,
        destination=asked.destination,
        options=kept(asked.options),
        body=asked.body,
        caller_ip=asked.caller_ip,
        created_at=now,
        next_at=first_moment(cron, now),
    )


def checked_cron(cron: str) -> str:
    cron = cron.strip()
    if not cron:
        raise Rejected("Upstash-Cron is missing: minute hour day month weekday")
    if len(cron) > LONGEST_CRON:
        raise Rejected(f"Upstash-Cron is longer than {LONGEST_CRON} characters")
    return cron


def first_moment(cron: str, now: int) -> int:
    """When a schedule fires next, in unix ms."""
    moment = next_moment(cron, now)
    if moment is None:
        raise Rejected(f"Upstash-Cron {cron!r} names no day of the next 50 years")
    return moment


def kept(options: Options) -> dict[str, list[str]]:
    """The options that every message of a schedule has, without those of the schedule itself.

    If all headers of the request are to be forwarded, each becomes an option.
    """
    forward_all = yes(options, "upstash-header-forward")
    found: dict[str, list[str]] = {}
    for name, values in options.items():
        if name == "content-type" or name.startswith("upstash-"):
            if name not in ABOUT_THE_SCHEDULE and not name.startswith(TELEMETRY):
                found[name] = values
        elif forward_all and name not in RESERVED | OWN_TO_CLIENT:
            found.setdefault(FORWARD + name, values)
    return found


@refusable
def put(schedule: Schedule) -> None:
    """Store a schedule, replacing any that has its id; LimitReached if there are too many."""
    same = Schedule.objects.filter(account=schedule.account, schedule_id=schedule.schedule_id)
    mine = Schedule.objects.filter(account=schedule.account)
    if not same.exists() and mine.count() >= settings.BROKER_SCHEDULES:
        raise LimitReached(f"quota maxSchedules exceeded: {settings.BROKER_SCHEDULES}")
    schedule.pk = None  # the writer may run this twice
    columns = [field.name for field in Schedule._meta.concrete_fields if not field.primary_key]
    Schedule.objects.bulk_create(
        [schedule],
        update_conflicts=True,
        unique_fields=["account", "schedule_id"],
        update_fields=[name for name in columns if name not in {"account", "schedule_id"}],
    )
    wakeup.on_commit()


@refusable
def pause(change: ScheduleChange) -> None:
    """Skip a schedule's moments from now on."""
    if not change.schedule().update(paused=True, next_at=None):
        raise NotFound(f"there is no schedule {change.schedule_id!r}")


@refusable
def resume(change: ScheduleChange) -> None:
    """Fire again from the next moment on; moments during the pause are not made up for."""
    schedule = change.schedule().select_for_update().first()
    if schedule is None:
        raise NotFound(f"there is no schedule {change.schedule_id!r}")
    if schedule.paused:
        moment = first_moment(schedule.cron, change.now)
        change.schedule().filter(paused=True).update(paused=False, next_at=moment)
        wakeup.on_commit()


@refusable
def delete(change: ScheduleChange) -> None:
    """Delete a schedule, if it is there. What it has published is delivered all the same."""
    change.schedule().delete()
