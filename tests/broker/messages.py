"""Messages to test with: rows as a publisher leaves them, and a destination to imitate."""

import asyncio

from broker.claiming import ClaimTerms, claim, claim_rest
from broker.delivery import Outcome
from broker.models import Event, Message

NOW = 1_700_000_000_000
LEASE_MS = 10_000
OK = Outcome(200, {}, b"", "")
ERROR = Outcome(500, {"X-A": ["1"]}, b"oops", "HTTP 500")
NO_ANSWER = Outcome(0, {}, b"", "no answer within 5 s")


def new_message(**fields: object) -> Message:
    """A message that is due at NOW, not yet stored."""
    values = {"url": "http://target.test/", "created_at": NOW, "not_before": NOW, "due_at": NOW}
    return Message(**values | fields)


def take(dispatcher: str = "one", now: int = NOW, limit: int = 100) -> list[Message]:
    """Claim for a dispatcher what is due: what simply waits, then the rest."""
    messages: list[Message] = []
    for step in (claim, claim_rest):
        [claimed] = step([ClaimTerms(dispatcher, now, LEASE_MS, limit - len(messages))])
        messages += [Message.from_row(row) for row in claimed.rows]
    return messages


def states(message: Message) -> list[str]:
    """The states in a message's log, oldest first."""
    lines = Event.objects.filter(message__message_id=message.message_id).order_by("id")
    return list(lines.values_list("state", flat=True))


class Destination:
    """Takes the place of `delivery.deliver`: answers as a test says, and may be slow."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.messages: list[Message] = []
        self.arrived, self.may_answer = asyncio.Semaphore(0), asyncio.Event()
        self.may_answer.set()

    async def __call__(self, session: object, message: Message, key: str) -> Outcome:
        self.messages.append(message)
        self.arrived.release()
        await self.may_answer.wait()
        return self.outcomes.pop(0) if self.outcomes else OK

    def hold(self) -> "Destination":
        self.may_answer.clear()
        return self

    async def get(self, count: int = 1, seconds: float = 5) -> None:
        """Wait until so many more attempts have arrived."""
        async with asyncio.timeout(seconds):
            for _ in range(count):
                await self.arrived.acquire()
