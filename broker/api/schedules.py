"""`/v2/schedules`: messages that are published again and again.

A publisher makes a schedule as it publishes a message, with `Upstash-Cron`;
broker/resources/schedules.py stores it, and broker/firing.py publishes it whenever it is due.
https://upstash.com/docs/qstash/features/schedules
"""

from collections.abc import Iterable
from itertools import batched
from typing import Any

from django.http import JsonResponse

from broker.api.lookups import show_all, show_one
from broker.api.publish import prepare, read_publication
from broker.api.requests import Call
from broker.api.shown import present, shown_message
from broker.changes import make
from broker.clock import now_ms
from broker.errors import Rejected
from broker.firing import publication
from broker.models import Message, Schedule, State
from broker.options import checked_name, read_fields
from broker.resources import schedules
from broker.resources.schedules import ScheduleChange
from broker.resources.url_groups import ANY_URL

LOOKED_UP_AT_ONCE = 1000
# Fields of a message that a schedule shows under another name or not at all.
NOT_OF_SCHEDULES = {"messageId", "url", "maxRetries", "notBefore"}
# How a schedule shows the state of a message.
OUTCOMES = dict.fromkeys(State, "IN_PROGRESS") | {
    State.DELIVERED: "SUCCESS",
    State.FAILED: "FAIL",
    State.CANCELED: "FAIL",
}


async def create_schedule(call: Call, name: str = "") -> JsonResponse:
    """Store a message, to be published at every moment of `Upstash-Cron`; answer its
    `scheduleId`. A schedule that has this id is replaced as a whole. A `name` is a URL group's: the
    destination is read from the path as it was sent.
    """
    schedule = schedules.new_schedule(read_publication(call, "/v2/schedules/"), now_ms())
    await prepare(publication(schedule))  # rejects what publishing would reject later
    await make(schedules.put, schedule)
    return JsonResponse({"scheduleId": schedule.schedule_id})


async def list_schedules(call: Call) -> JsonResponse:
    """Answer a list of schedules, oldest first."""
    return await show_all(lambda: shown(call.account))


async def show_schedule(call: Call, name: str) -> JsonResponse:
    """Answer one schedule."""
    name = checked_name(name, "schedule id")
    return await show_one(lambda: shown(call.account, schedule_id=name), f"schedule {name!r}")


async def delete_schedule(call: Call, name: str) -> JsonResponse:
    """Delete a schedule, if there is one."""
    await make(schedules.delete, change_of(call, name))
    return JsonResponse({})


async def pause_schedule(call: Call, name: str) -> JsonResponse:
    """Publish nothing until the schedule is resumed."""
    await make(schedules.pause, change_of(call, name))
    return JsonResponse({})


async def resume_schedule(call: Call, name: str) -> JsonResponse:
    """Publish again, from the next moment on."""
    await make(schedules.resume, change_of(call, name))
    return JsonResponse({})


def change_of(call: Call, name: str) -> ScheduleChange:
    return ScheduleChange(call.account, checked_name(name, "schedule id"), now_ms())


def shown(account: str, **which: str) -> list[dict[str, Any]]:
    """Schedules as JSON, with the state of the messages they published last."""
    found = list(Schedule.objects.filter(account=account, **which).order_by("created_at", "id"))
    states = states_of(account, (name for schedule in found for name in schedule.last_messages))
    return [as_json(schedule, states) for schedule in found]


def states_of(account: str, message_ids: Iterable[str]) -> dict[str, str]:
    """The states of the messages that are still stored, as a schedule shows them."""
    states: dict[str, str] = {}
    for some in batched(message_ids, LOOKED_UP_AT_ONCE, strict=False):
        messages = Message.objects.filter(account=account, message_id__in=some)
        for message_id, state in messages.values_list("message_id", "state"):
            states[message_id] = OUTCOMES[State(state)]
    return states


def as_json(schedule: Schedule, states: dict[str, str]) -> dict[str, Any]:
    """A schedule as JSON: moments in unix ms, durations in seconds."""
    error, fields = schedule.error, dict[str, Any]()
    try:
        fields = read_fields(ANY_URL, schedule.options, schedule.created_at)
    except Rejected as refusal:  # the settings now allow less than they did
        fields, error = {"not_before": schedule.created_at}, str(refusal)
    message = Message(**fields, body=schedule.body, caller_ip=schedule.caller_ip)
    message.schedule_id, message.created_at = schedule.schedule_id, schedule.created_at
    message.queue_name = publication(schedule).queue_name
    told = shown_message(message)
    return {name: value for name, value in told.items() if name not in NOT_OF_SCHEDULES} | {
        "destination": schedule.destination,
        "cron": schedule.cron,
        "retries": message.max_retries,
        "isPaused": schedule.paused,
        **present(
            # The published OpenAPI has this name; a message has the other one, which stays as well.
            callerIp=schedule.caller_ip,
            delay=(message.not_before - schedule.created_at) // 1000,
            timeout=message.timeout_seconds,
            lastScheduleTime=schedule.last_at,
            nextScheduleTime=schedule.next_at,
            lastScheduleStates={
                name: states[name] for name in schedule.last_messages if name in states
            },
            error=error,
        ),
    }
