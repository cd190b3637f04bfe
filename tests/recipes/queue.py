"""The embedded queue, run by hand: it delivers to this site without a network or a wait."""

from django.conf import settings
from django.test import AsyncClient

from broker.clock import now_ms
from broker.connections import Connections
from broker.delivery import Outcome, headers_for
from broker.dispatcher import Dispatcher
from broker.models import Message


class HandQueue:
    """Delivers what is due; `answers` are those it has got, as (path, status), oldest first."""

    def __init__(self) -> None:
        self.answers: list[tuple[str, int]] = []

    async def deliver(self, connections: Connections, message: Message, key: str) -> Outcome:
        path = message.url.removeprefix(settings.PUBLIC_URL)
        headers = headers_for(message, key)
        response = await AsyncClient().post(
            path,
            bytes(message.body),
            content_type="application/json",
            headers={name: value for name, value in headers.items() if name != "Content-Type"},
        )
        self.answers.append((path, response.status_code))
        header = {name: [value] for name, value in response.items()}
        error = "" if response.status_code < 300 else f"HTTP {response.status_code}"
        return Outcome(response.status_code, header, response.content, error)

    async def run(self, ahead: float = 0) -> int:
        """Deliver what is due so many seconds from now; return how many messages that were.

        The first round publishes what schedules say, the second one delivers that, too.
        """
        rounds = [await self.once(ahead) for _ in range(2)]
        return sum(rounds)

    async def once(self, ahead: float) -> int:
        return await Dispatcher(self.deliver, lambda: now_ms() + round(ahead * 1000)).run_once()
