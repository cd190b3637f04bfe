"""Schedules and URL groups of our own database.

`broker/` stores them; its dispatcher publishes what a schedule says, and a URL group's messages
are stored here and now.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from asgiref.sync import sync_to_async

import broker.models
from broker.changes import make
from broker.clock import now_ms
from broker.errors import Rejected
from broker.options import checked_options
from broker.publishing import Publication, messages_for, store_lists
from broker.resources import schedules, url_groups
from groupcommit.writer import writer
from jobs.attempts import moment
from jobs.exceptions import Refused
from jobs.interface import Letter
from jobs.resources import QueueResources, Receipt, Schedule

ACCOUNT = "site"


class EmbeddedResources(QueueResources):
    """The site's own account of the embedded queue."""

    async def put_schedule(self, schedule_id: str, cron: str, letter: Letter) -> None:
        own = {"Upstash-Cron": cron, "Upstash-Schedule-Id": schedule_id}
        with named_errors():
            asked = publication(letter.url, letter.headers | own, letter.body)
            messages_for(asked, now_ms())  # rejects now what publishing would reject later
            await make(schedules.put, schedules.new_schedule(asked, now_ms()))

    async def schedules(self, prefix: str) -> list[Schedule]:
        found = broker.models.Schedule.objects.filter(
            account=ACCOUNT, schedule_id__startswith=prefix
        )
        return [
            Schedule(
                schedule_id=row.schedule_id,
                cron=row.cron,
                paused=row.paused,
                created_at=moment(row.created_at),
                error=row.error,
            )
            async for row in found.order_by("created_at", "id")
        ]

    async def pause_schedule(self, schedule_id: str) -> None:
        with named_errors():
            await make(schedules.pause, schedules.ScheduleChange(ACCOUNT, schedule_id, now_ms()))

    async def resume_schedule(self, schedule_id: str) -> None:
        with named_errors():
            await make(schedules.resume, schedules.ScheduleChange(ACCOUNT, schedule_id, now_ms()))

    async def delete_schedule(self, schedule_id: str) -> None:
        with named_errors():
            await make(schedules.delete, schedules.ScheduleChange(ACCOUNT, schedule_id, now_ms()))

    async def put_group(self, name: str, endpoints: Mapping[str, str]) -> None:
        ends = tuple(url_groups.EndpointChange(url, end) for end, url in endpoints.items())
        with named_errors():
            change = url_groups.GroupChange(ACCOUNT, name, now_ms(), endpoints=ends)
            await make(url_groups.add_endpoints, change)

    async def publish_to_group(self, name: str, letter: Letter, once: str) -> list[Receipt]:
        with named_errors():
            asked = publication(
                name, letter.headers | {"Upstash-Deduplication-Id": once}, letter.body
            )
            messages = await sync_to_async(messages_for)(asked, now_ms())
        receipts = await writer.write(store_lists, messages)
        return [Receipt(receipt.message_id, receipt.url) for receipt in receipts]


def publication(destination: str, headers: Mapping[str, str], body: bytes) -> Publication:
    return Publication(destination, checked_options(headers), body, ACCOUNT)


@contextmanager
def named_errors() -> Iterator[None]:
    """Raise what the queue rejects as a PublishError."""
    try:
        yield
    except Rejected as error:
        raise Refused(f"The queue refused: {error}.") from error
