"""What tests of the queue's pages need: pages that are open, and messages in every state."""

import html
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

import pytest
from django.test import AsyncClient

from broker.delivery import Outcome
from broker.dispatcher import Dispatcher
from broker.models import Message, State
from broker.publishing import read_message, store
from console.serving import signer
from groupcommit.writer import writer
from tests.broker.letters import buried


class Seen(NamedTuple):
    """A page as it was answered."""

    status: int
    html: str
    headers: dict[str, str]

    @property
    def text(self) -> str:
        return " ".join(html.unescape(re.sub("<[^>]*>", " ", self.html)).split())


def landed(answer: Seen) -> tuple[str, str]:
    """Where a click has led, and what the page says there."""
    address, _, query = answer.headers["Location"].partition("?")
    fields = parse_qsl(query)
    (said,) = (value for name, value in fields if name in {"done", "not_done"})
    rest = urlencode([(name, value) for name, value in fields if name not in {"done", "not_done"}])
    return f"{address}?{rest}" if rest else address, signer().unsign(said)


class Visit:
    """Opens pages of the queue as an operator does."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client

    async def get(self, path: str, **query: str) -> Seen:
        return await self.seen(await self.client.get(f"/queue/{path}", query))

    async def follow(self, answer: Seen) -> Seen:
        """The page to which a click has led."""
        return await self.seen(await self.client.get(answer.headers["Location"]))

    async def post(self, path: str, **form: object) -> Seen:
        return await self.seen(await self.client.post(f"/queue/{path}", form))

    @staticmethod
    async def seen(answer) -> Seen:
        return Seen(answer.status_code, answer.content.decode(), dict(answer.headers))


@pytest.fixture
def visit(async_client: AsyncClient, settings, transactional_db) -> Visit:
    settings.CONSOLE_OPEN = True
    return Visit(async_client)


async def published(
    url: str = "http://target.test/", body: bytes = b"hi", **headers: str
) -> Message:
    """A message as a publisher leaves it."""
    named = {f"Upstash-{name.replace('_', '-')}": value for name, value in headers.items()}
    message = read_message(url, {"Content-Type": "text/plain"} | named, body)
    await writer.write(store, message)
    return await Message.objects.aget(message_id=message.message_id)


async def delivered(status: int = 200, answered: bytes = b"", **options: object) -> Message:
    """A message after one attempt."""
    message = await published(**options)

    async def answer(*_: object) -> Outcome:
        return Outcome(status, {"X-A": ["1"]}, answered, "" if status == 200 else f"HTTP {status}")

    dispatcher = Dispatcher(answer)
    await dispatcher.run_once()
    return await Message.objects.aget(pk=message.pk)


async def one_in_each_state() -> dict[str, str]:
    """The ids of six messages, by their states on the pages."""
    ids = {}
    for state, wire in {
        "running": State.ACTIVE,
        "waiting": State.RETRY,
        "succeeded": State.DELIVERED,
        "cancelled": State.CANCELED,
        "queued": State.CREATED,
    }.items():
        message = await published(url=f"http://{state}.test/")
        over = wire in {State.DELIVERED, State.CANCELED}
        changes = {"due_at": None, "expires_at": 1} if over else {}
        await Message.objects.filter(pk=message.pk).aupdate(state=wire, **changes)
        ids[state] = message.message_id
    await buried(url="http://failed.test/")
    failed = await Message.objects.aget(state=State.FAILED)
    return ids | {"failed": failed.message_id}
