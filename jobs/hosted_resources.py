"""Schedules and URL groups of hosted QStash, over its REST API.

QStash publishes what a schedule says, and sends a URL group's message to each endpoint.
https://upstash.com/docs/qstash/api-reference
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import requests

from jobs.attempts import moment
from jobs.exceptions import NotFound, Refused
from jobs.interface import Letter
from jobs.qstash import QStash
from jobs.resources import QueueResources, Receipt, Schedule

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError)


class HostedResources(QueueResources):
    """One account at QStash; each method is one HTTP call, in a thread of its own."""

    def __init__(self, client: QStash) -> None:
        self.client = client

    async def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return await asyncio.to_thread(self.client.call, method, f"/v2/{path}", **options)

    async def put_schedule(self, schedule_id: str, cron: str, letter: Letter) -> None:
        own = {"Upstash-Cron": cron, "Upstash-Schedule-Id": schedule_id}
        headers = letter.headers | own
        await self.call("POST", f"schedules/{letter.url}", headers=headers, data=letter.body)

    async def schedules(self, prefix: str) -> list[Schedule]:
        answer = await self.call("GET", "schedules")
        try:
            found = [read_schedule(told) for told in answer.json()]
        except UNREADABLE as error:
            raise Refused("QStash did not answer with a list of schedules.") from error
        own = [schedule for schedule in found if schedule.schedule_id.startswith(prefix)]
        return sorted(own, key=lambda schedule: schedule.created_at)

    async def pause_schedule(self, schedule_id: str) -> None:
        await self.call("PATCH", f"schedules/{quote(schedule_id)}/pause")

    async def resume_schedule(self, schedule_id: str) -> None:
        await self.call("PATCH", f"schedules/{quote(schedule_id)}/resume")

    async def delete_schedule(self, schedule_id: str) -> None:
        with suppress(NotFound):
            await self.call("DELETE", f"schedules/{quote(schedule_id)}")

    async def put_group(self, name: str, endpoints: Mapping[str, str]) -> None:
        ends = [{"name": end, "url": url} for end, url in endpoints.items()]
        await self.call("POST", f"topics/{quote(name)}/endpoints", json={"endpoints": ends})

    async def publish_to_group(self, name: str, letter: Letter, once: str) -> list[Receipt]:
        headers = letter.headers | {"Upstash-Deduplication-Id": once}
        answer = await self.call(
            "POST", f"publish/{quote(name)}", headers=headers, data=letter.body
        )
        try:
            return [Receipt(str(told["messageId"]), str(told["url"])) for told in answer.json()]
        except UNREADABLE as error:
            raise Refused(
                f"QStash did not answer with the messages of a URL group: {answer.text[:200]!r}."
            ) from error


def read_schedule(told: dict[str, Any]) -> Schedule:
    return Schedule(
        schedule_id=str(told["scheduleId"]),
        cron=str(told["cron"]),
        paused=bool(told.get("isPaused")),
        created_at=moment(int(told["createdAt"])),
        error=str(told.get("error") or ""),
    )
