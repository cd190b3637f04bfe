"""One message, three receivers: a URL group.

A click publishes one message to the group's name. The queue makes one for each of its three
endpoints, and from then on they are independent: each is delivered, and tried again, by itself.
https://upstash.com/docs/qstash/features/url-groups
"""

import asyncio
import re
import secrets
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse
from django.tasks import default_task_backend, task
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from jobs.changes import cards_of
from jobs.example_job import Example
from jobs.exceptions import TryAgain
from jobs.interface import JobContext, JobTask
from jobs.pages import Card
from jobs.resources import letter_without_job, store_expected
from jobs.signatures import site_url
from jobs.strip import Strip
from jobs.views import visitor_of
from live.views import News, live
from recipes.results import jobs_of, news_of, show, started, topics_of, way_of

NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")


@task(takes_context=True, steps=1)
async def write_invoice(context: JobContext, order: str) -> None:
    """Quick."""
    for _ in context.steps_left():
        await context.note(f"invoice for order {order}")


@task(takes_context=True, steps=6)
async def pack_parcel(context: JobContext, order: str) -> None:
    """Slow: three seconds."""
    for number in context.steps_left():
        await asyncio.sleep(0.5)
        await context.note(f"item {number} of order {order}")


@task(takes_context=True, steps=1)
async def book_carrier(context: JobContext, order: str) -> None:
    """Fails twice, and succeeds then."""
    if context.task_result.job.attempts <= 2:
        raise TryAgain("the carrier does not answer")
    for _ in context.steps_left():
        await context.note(f"carrier for order {order}")


RECEIVERS: tuple[JobTask, ...] = (write_invoice, pack_parcel, book_carrier)


async def publish_order(owner: str, order: str, site: str) -> None:
    """Publish one message to the group, and store the three jobs that it becomes."""
    queue, name = default_task_backend.resources, group_name(site)
    urls = {each: site + reverse("receive", args=[each.endpoint]) for each in RECEIVERS}
    await queue.put_group(name, {each.endpoint: url for each, url in urls.items()})
    letter = letter_without_job(write_invoice.using(owner=owner), order)
    sent = {url: id_ for id_, url in await queue.publish_to_group(name, letter, once=order)}
    for each, url in urls.items():
        await store_expected(each.using(owner=owner), [order], sent[url])


def group_name(site: str) -> str:
    """The group's name: it has the site's address, as several sites may share a queue."""
    return NOT_IN_A_NAME.sub("-", f"order-{urlsplit(site).netloc}")[:128]


@require_POST
async def start_order(request: HttpRequest) -> HttpResponse:
    """Send an order to all three receivers."""
    order = secrets.token_hex(4)
    publishing = publish_order(visitor_of(request), order, site_url(request))
    return await started(request, "url_group", url_group_page, publishing)


@never_cache
@require_safe
async def url_group(request: HttpRequest) -> HttpResponse:
    """The button, and the newest order's three messages side by side."""
    return await url_group_page(request)


@live(topics_of)
async def url_group_changes(request: HttpRequest, since: str) -> News | None:
    """What has changed on the open page."""
    cards = await cards_of(jobs_of(request, *RECEIVERS), drawn=len(RECEIVERS))
    return await news_of(request, since, cards, [each.strip for each in receivers_of(cards)])


class Receiver(NamedTuple):
    """An endpoint of the group, what it is like, and its message's way."""

    task: JobTask
    says: str
    strip: Strip


async def url_group_page(request: HttpRequest, failure: str = "") -> HttpResponse:
    cards = await cards_of(jobs_of(request, *RECEIVERS), drawn=len(RECEIVERS))
    context: dict[str, Any] = {"receivers": receivers_of(cards), "failure": failure}
    context["group"] = group_name(site_url(request))
    code = (publish_order, *RECEIVERS)
    return await show(request, "url_group", cards, *code, **context)


def receivers_of(cards: list[Card]) -> list[Receiver]:
    """The three receivers with the jobs of the newest order. `cards`: newest first."""
    order = cards[0].job.args[:1] if cards else []
    newest = {card.job.task: card for card in cards if card.job.args[:1] == order}
    return [
        Receiver(
            each,
            each.func.__doc__ or "",
            way_of(newest.get(each.module_path), Example(each, start_order), each.endpoint),
        )
        for each in RECEIVERS
    ]
