"""Publish the messages of schedules that are due.

A schedule's moment has come: its messages are stored in the same transaction that moves its
next moment on, so each moment fires once however many dispatchers look. A moment missed by
more than a minute is skipped. Cron expressions are read by cronsim, which knows daylight
saving time as Debian's cron does.
https://upstash.com/docs/qstash/features/schedules
"""

import logging
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from django.db import transaction

from broker.errors import Rejected
from broker.models import Schedule
from broker.publishing import Publication, messages_for, store

logger = logging.getLogger(__name__)

LATEST_MS = 60_000
AT_ONCE = 50
TIME_ZONE = "CRON_TZ="


def next_moment(cron: str, after: int) -> int | None:
    """The first moment after another that a cron expression names, both in unix ms.

    `min hour day month weekday`, in UTC unless it begins with `CRON_TZ=<IANA zone>`; None if
    there is none within 50 years. Rejected if it cannot be read.
    """
    zone: tzinfo = UTC
    expression = cron.strip()
    try:
        if expression.startswith(TIME_ZONE):
            name, _, expression = expression.removeprefix(TIME_ZONE).partition(" ")
            zone = ZoneInfo(name)
        if len(expression.split()) != 5:
            raise CronSimError("it needs five fields: minute hour day month weekday")
        moments = CronSim(expression, datetime.fromtimestamp(after / 1000, zone))
        # In the hour that is repeated, the first moment found may be in the past.
        found = (int(moment.timestamp() * 1000) for moment in moments)
        return next((moment for moment in found if moment > after), None)
    except (CronSimError, ValueError, OSError, KeyError) as error:
        raise Rejected(f"Upstash-Cron {cron[:100]!r} cannot be read: {error}") from error


def publish_due(now: int) -> int:
    """Publish what is due now (unix ms), in a transaction; return how many schedules fired."""
    due = Schedule.objects.select_for_update().filter(next_at__lte=now).order_by("next_at")
    fired = 0
    for schedule in due[:AT_ONCE]:
        moment = schedule.next_at
        unmoved = Schedule.objects.filter(pk=schedule.pk, next_at=moment)
        try:
            upcoming = next_moment(schedule.cron, max(now, moment or 0))
        except Rejected as error:  # its time zone may have been removed
            unmoved.update(next_at=None, error=str(error))
            continue
        moved = unmoved.update(next_at=upcoming)
        if moved and moment is not None and now - moment <= LATEST_MS:
            fire(schedule, now)
            fired += 1
    return fired


def fire(schedule: Schedule, now: int) -> None:
    """Store a schedule's messages, or the reason why there are none."""
    receipts, error = [], ""
    try:
        with transaction.atomic():
            receipts = store(messages_for(publication(schedule), now), by_queue=True)
    except Rejected as refusal:
        error = str(refusal)
        logger.warning("cannot publish", extra={"schedule": schedule.schedule_id, "error": error})
    schedule.last_messages = [receipt.message_id for receipt in receipts]
    schedule.last_at, schedule.error = now, error
    schedule.save(update_fields=["last_at", "last_messages", "error"])


def publication(schedule: Schedule) -> Publication:
    """What a schedule publishes each time."""
    return Publication(
        schedule.destination,
        schedule.options,
        bytes(schedule.body),
        schedule.account,
        schedule.caller_ip,
        (schedule.options.get("upstash-queue-name") or [None])[0],
        schedule.schedule_id,
    )
