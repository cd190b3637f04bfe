"""Start a job in ten seconds; cancel it before; run it again after a failure.

The message is in the queue at once, and is delivered when its moment has come. Until then the
job can be cancelled, and its message with it. `jobs/views.py` cancels and publishes again.
"""

from datetime import timedelta

from django.http import HttpRequest, HttpResponse
from django.tasks import task
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from jobs.changes import cards_of
from jobs.example_job import Example
from jobs.exceptions import GiveUp
from jobs.interface import JobContext
from jobs.pages import Card
from jobs.strip import Strip
from jobs.tasks import http_session, post
from jobs.views import cancel_job, publish_again, target_for, visitor_of
from live.views import News, live
from recipes.results import jobs_of, news_of, show, started, topics_of, way_of

DELAY = timedelta(seconds=10)


@task(takes_context=True, steps=1)
async def remind(context: JobContext, target_url: str, fails: bool = False) -> None:
    """Send one request to a target; or fail, but not when the job is run again."""
    if fails and len(context.task_result.job.messages) == 1:
        raise GiveUp("a failure, as you asked for. Run the job again, and it succeeds")
    async with http_session() as http:
        for _ in context.steps_left():
            status = await post(http, target_url, {"remind": "you"}, context.job_id)
            await context.note(f"HTTP {status}")


@require_POST
async def start_delayed(request: HttpRequest) -> HttpResponse:
    """Enqueue a job that starts in ten seconds."""
    reminder = remind.using(owner=visitor_of(request), run_after=DELAY)
    fails = "fails" in request.POST
    enqueueing = reminder.aenqueue(target_for(request), fails=fails)
    return await started(request, "delay", delay_page, enqueueing)


@never_cache
@require_safe
async def delay(request: HttpRequest) -> HttpResponse:
    """The button, and the jobs that wait for their moment."""
    return await delay_page(request)


@live(topics_of)
async def delay_changes(request: HttpRequest, since: str) -> News | None:
    """What has changed on the open page."""
    cards = await cards_of(jobs_of(request, remind))
    return await news_of(request, since, cards, [strip_of(cards)])


async def delay_page(request: HttpRequest, failure: str = "") -> HttpResponse:
    cards = await cards_of(jobs_of(request, remind))
    code = (start_delayed, remind, cancel_job, publish_again)
    return await show(request, "delay", cards, *code, strip=strip_of(cards), failure=failure)


def strip_of(cards: list[Card]) -> Strip:
    return way_of(next(iter(cards), None), Example(remind, start_delayed))
