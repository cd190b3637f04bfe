"""Learn from the queue what became of a message: a callback.

The first message is a job's like any other. The queue then publishes a second one, which
carries the answer that the first has got; it arrives here, signed, and gets a job of its own.
https://upstash.com/docs/qstash/features/callbacks
"""

import asyncio
import base64
import json
from typing import Any, NamedTuple

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.tasks import task
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from jobs.changes import cards_of
from jobs.example_job import Example
from jobs.exceptions import TryAgain
from jobs.interface import JobContext
from jobs.models import Job
from jobs.owners import sealed
from jobs.pages import Card
from jobs.receiving import never, read_payload, work_on
from jobs.signatures import Delivery, signed
from jobs.strip import Strip
from jobs.views import visitor_of
from live.views import News, live
from recipes.results import jobs_of, news_of, show, started, topics_of, way_of

LONGEST_ANSWER = 500


@task(takes_context=True, steps=3, retry_delay="1000", callback="/api/callback")
async def bake(context: JobContext, fails: bool = False) -> str:
    """Take a second and a half, and fail at the first attempt if asked to."""
    for _ in context.steps_left():
        await asyncio.sleep(0.5)
        await context.note("baking")
        if fails and context.task_result.job.attempts == 1:
            raise TryAgain("the oven was cold")
    return "a cake"


@task(takes_context=True, steps=1)
async def take_answer(
    context: JobContext, job_id: str, attempt: int, status: int, answer: str
) -> None:
    """What you do with the answer: here it is noted, once however often the callback comes."""
    for _ in context.steps_left():
        await context.note(f"attempt {attempt} was answered with HTTP {status}: {answer}")


class Report(NamedTuple):
    """What a callback says: whose message it was, which attempt, and the endpoint's answer."""

    job_id: str
    attempt: int
    status: int
    answer: str


@signed
async def receive_callback(request: HttpRequest, delivery: Delivery) -> JsonResponse:
    """Work on a callback as on any message: claimed once, tried again if it fails."""
    try:
        report = read_report(delivery.body)
    except ValueError as error:
        return never(str(error))
    if not (job := await Job.objects.filter(id=report.job_id).afirst()):
        return never("there is no such job")
    payload = {"args": list(report), "owner": sealed(job.owner)}
    return await work_on(take_answer, delivery._replace(body=json.dumps(payload).encode()))


def read_report(body: bytes) -> Report:
    """A callback's report on a job's message; ValueError if it is none."""
    try:
        told: dict[str, Any] = json.loads(body)
        payload = read_payload(base64.b64decode(told["sourceBody"]))
        answer = base64.b64decode(told.get("body") or "").decode(errors="replace")
        attempt, status = int(told.get("retried") or 0) + 1, int(told["status"])
        job_id = payload.get("job_id") or Job.id_for_message(str(told["sourceMessageId"]))
        return Report(job_id, attempt, status, answer.replace("\0", "")[:LONGEST_ANSWER])
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError("the body must be a callback for a task's message") from error


@require_POST
async def start_with_callback(request: HttpRequest) -> HttpResponse:
    """Enqueue a job whose answers the queue reports."""
    baking = bake.using(owner=visitor_of(request))
    enqueueing = baking.aenqueue(fails="fails" in request.POST)
    return await started(request, "callback", callback_page, enqueueing)


@never_cache
@require_safe
async def callback(request: HttpRequest) -> HttpResponse:
    """The button, the newest job's way, and its callback's."""
    return await callback_page(request)


@live(topics_of)
async def callback_changes(request: HttpRequest, since: str) -> News | None:
    """What has changed on the open page."""
    cards = await cards_of(jobs_of(request, bake, take_answer), drawn=3)
    news = await news_of(request, since, cards, strips_of(cards))
    told = {"answers": answers_in(cards), "news": True}
    return news and News(news.html + render_to_string("recipes/answers.html", told), news.version)


async def callback_page(request: HttpRequest, failure: str = "") -> HttpResponse:
    cards = await cards_of(jobs_of(request, bake, take_answer), drawn=3)
    strip, callback_strip = strips_of(cards)
    context: dict[str, Any] = {"strip": strip, "callback_strip": callback_strip}
    context |= {"answers": answers_in(cards), "failure": failure}
    code = (start_with_callback, bake, receive_callback, take_answer)
    return await show(request, "callback", cards, *code, **context)


def strips_of(cards: list[Card]) -> tuple[Strip, Strip]:
    """The way of the newest job, and that of the newest callback on it. `cards`: newest first."""
    card, reports = newest_in(cards)
    callback = Example(take_answer, receive_callback, "callback")
    return (
        way_of(card, Example(bake, start_with_callback)),
        way_of(next(iter(reports), None), callback, "callback-way"),
    )


def answers_in(cards: list[Card]) -> list[str]:
    """What the callbacks on the newest job have told, the newest first."""
    _, reports = newest_in(cards)
    return [step["text"] for report in reports for step in report.job.log]


def newest_in(cards: list[Card]) -> tuple[Card | None, list[Card]]:
    """The newest job, and the jobs of the callbacks on it, the newest first."""
    baked = next((card for card in cards if card.job.task == bake.module_path), None)
    return baked, [card for card in cards if baked and card.job.args[:1] == [baked.job.id]]
