"""The failure lab: choose what goes wrong, and watch the queue deal with it.

The message is at `/api/lab-task`, as any other would be. Its task, or the target that the task
calls, misbehaves at step 2 for as many attempts as the scenario says. After that all is well:
so the queue gives up in some scenarios, and its dead letter can be delivered again.
"""

import asyncio
from typing import NamedTuple

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.tasks import task
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from jobs.exceptions import CutOff, GiveUp
from jobs.interface import JobContext
from jobs.signatures import site_url
from jobs.tasks import http_session, post
from jobs.views import HtmxRequest, show_published, target_for, visitor_of

RETRIES = 2
ATTEMPTS = RETRIES + 1
BROKEN_STEP = 2
RETRY_SECONDS = 2
# How long the task waits for the target, and the queue for the task.
PATIENCE_SECONDS = 2
# How much later a task that hangs gives its job back, if the server has not ended it.
TOO_LATE_SECONDS = 0.5
RETRY_AFTER_SECONDS = 3


class Scenario(NamedTuple):
    """What goes wrong where, in so many attempts."""

    where: str
    label: str
    attempts: int


SCENARIOS = {
    "well": Scenario("The target", "answers well", 0),
    "target-fails-once": Scenario("The target", "fails once (HTTP 500)", 1),
    "target-fails": Scenario("The target", "fails until the queue gives up", ATTEMPTS),
    "target-hangs": Scenario("The target", "hangs until the queue gives up", ATTEMPTS),
    "target-busy": Scenario("The target", "is busy once (HTTP 429 with Retry-After)", 1),
    "endpoint-fails-once": Scenario("The endpoint", "has a bug once (an exception)", 1),
    "endpoint-fails": Scenario("The endpoint", "has a bug until the queue gives up", ATTEMPTS),
    "endpoint-hangs": Scenario("The endpoint", "hangs until the queue gives up", ATTEMPTS),
    "endpoint-refuses": Scenario("The endpoint", "answers 489: never again", 1),
}


@task(takes_context=True, steps=3, retries=RETRIES, retry_delay=f"{RETRY_SECONDS}000", timeout=10)
async def lab_task(context: JobContext, target_url: str, trouble_url: str, scenario: str) -> str:
    """Send three requests; the second one meets what the scenario says."""
    async with http_session(PATIENCE_SECONDS) as http:
        for number in context.steps_left():
            url = target_url
            if number == BROKEN_STEP and context.attempt <= SCENARIOS[scenario].attempts:
                url = trouble_url
                await break_endpoint(scenario)
            status = await post(http, url, {"hello": "lab"}, f"{context.job_id}-{number}")
            await asyncio.gather(context.note(f"HTTP {status}"), asyncio.sleep(0.5))
    return f"done in attempt {context.attempt}"


async def break_endpoint(scenario: str) -> None:
    """Go wrong in the task itself, if that is the scenario."""
    if scenario.startswith("endpoint-fails"):
        raise ZeroDivisionError("a bug, on purpose")
    if scenario == "endpoint-hangs":
        # gunicorn ends a view whose client has hung up; `manage.py dev` does not notice.
        await asyncio.sleep(PATIENCE_SECONDS + TOO_LATE_SECONDS)
        raise CutOff("the queue hung up", after=RETRY_SECONDS - TOO_LATE_SECONDS)
    if scenario == "endpoint-refuses":
        raise GiveUp("the endpoint says that no further attempt can help")


@csrf_exempt
@require_POST
async def target_in_trouble(request: HttpRequest, scenario: str) -> HttpResponse:
    """What a task meets that calls a target in trouble."""
    if scenario == "target-hangs":
        await asyncio.sleep(2 * PATIENCE_SECONDS)
    if scenario == "target-busy":
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
        return JsonResponse({"error": "busy"}, status=429, headers=headers)
    return JsonResponse({"error": "broken, on purpose"}, status=500)


@require_POST
async def start_with_failure(request: HtmxRequest) -> HttpResponse:
    """Enqueue the lab's task with the scenario that was chosen; none is the first one."""
    scenario = request.POST.get("scenario", "")
    scenario = scenario if scenario in SCENARIOS else "well"
    timeout = PATIENCE_SECONDS if scenario == "endpoint-hangs" else None
    job_task = lab_task.using(owner=visitor_of(request), timeout=timeout)
    trouble_url = site_url(request) + reverse("lab_target", args=[scenario])
    publishing = job_task.aenqueue(target_for(request), trouble_url, scenario)
    return await show_published(request, publishing)
