"""A task that runs again and again, without a click.

The visitor's schedule is at the queue, which publishes its message at every moment of a cron
expression. The message names the task and its owner, and gets a job on arrival.
https://upstash.com/docs/qstash/features/schedules
"""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.http import Http404, HttpRequest
from django.tasks import default_task_backend, task
from django.utils import timezone
from django.utils.crypto import salted_hmac

from jobs.interface import JobContext
from jobs.resources import Schedule, letter_without_job
from jobs.tasks import http_session, post
from jobs.views import target_for, visitor_of
from recipes.cron import CronError, Reading, read

# Anybody can visit a public site, so what a visitor starts here is bounded, and ends by itself.
MOST = 3
LIFETIME = timedelta(days=1)
PREFIX = "visitor-"


@task(takes_context=True, steps=1)
async def tick(context: JobContext, target_url: str, schedule_id: str, ends_at: str) -> None:
    """Send one request to a target, and end the schedule if its time is over."""
    async with http_session() as http:
        for _ in context.steps_left():
            status = await post(http, target_url, {"hello": "again"}, context.job_id)
            await context.note(f"HTTP {status}")
    if timezone.now() >= datetime.fromisoformat(ends_at):
        await end_old(schedule_id, timezone.now())


async def end_old(prefix: str, now: datetime) -> None:
    """Delete the schedules whose ids begin so, if they are older than a day."""
    queue = default_task_backend.resources
    for schedule in await queue.schedules(prefix):
        if now - schedule.created_at >= LIFETIME:
            await queue.delete_schedule(schedule.schedule_id)


class Kept(NamedTuple):
    """A visitor's schedule as the page shows it; `number` is its place, from 1."""

    number: int
    schedule: Schedule
    reading: Reading | None
    ends_at: datetime


def id_of(owner: str, number: int | str) -> str:
    """The id of a visitor's schedule: three numbers, so a visitor never has a fourth.

    Nobody can name another visitor's schedule, as the id is made from the signed session.
    """
    name = salted_hmac("recipes.schedule", owner, algorithm="sha256").hexdigest()[:24]
    return f"{PREFIX}{name}-{number}"


async def kept_by(owner: str, now: datetime) -> list[Kept]:
    """A visitor's schedules, oldest first. PublishError if the queue cannot be asked."""
    kept = []
    for schedule in await default_task_backend.resources.schedules(id_of(owner, "")):
        reading = None
        with suppress(CronError):
            reading = read(schedule.cron, now)
        number = int(schedule.schedule_id.rpartition("-")[2])
        kept.append(Kept(number, schedule, reading, schedule.created_at + LIFETIME))
    return kept


async def start(owner: str, cron: str, target_url: str, now: datetime) -> bool:
    """Make a schedule for a visitor; False if there are three already.

    CronError or PublishError if it fails. Schedules that were left alone for a day make room
    first, whoever's they are.
    """
    cron = read(cron, now).cron
    await end_old(PREFIX, now)
    taken = {kept.number for kept in await kept_by(owner, now)}
    free = [number for number in range(1, MOST + 1) if number not in taken]
    if not free:
        return False
    schedule_id = id_of(owner, free[0])
    arguments = [target_url, schedule_id, (now + LIFETIME).isoformat()]
    letter = letter_without_job(tick.using(owner=owner), *arguments)
    await default_task_backend.resources.put_schedule(schedule_id, cron, letter)
    return True


async def run_now(request: HttpRequest, number: int) -> None:
    """Enqueue the schedule's task once more, here and now."""
    owner = visitor_of(request)
    schedule = await one_of(owner, number)
    ends_at = (schedule.created_at + LIFETIME).isoformat()
    run = tick.using(owner=owner)
    await run.aenqueue(target_for(request), schedule.schedule_id, ends_at)


async def one_of(owner: str, number: int) -> Schedule:
    """A visitor's schedule; Http404 if there is none with this number."""
    found: list[Schedule] = await default_task_backend.resources.schedules(id_of(owner, number))
    if found:
        return found[0]
    raise Http404("There is no such schedule.")


async def change(owner: str, number: int | str, action: str) -> None:
    """Pause, resume or delete a visitor's schedule. PublishError if the queue says no."""
    queue = default_task_backend.resources
    actions: dict[str, Any] = {
        "pause": queue.pause_schedule,
        "resume": queue.resume_schedule,
        "delete": queue.delete_schedule,
    }
    await actions[action](id_of(owner, number))
