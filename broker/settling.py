"""What an attempt leaves behind: the message moves on, and its log says why.

The dispatcher has delivered, or tried to. A message that was accepted is done; one that was
not waits for the next attempt; one that has none left becomes a dead letter, and its failure
callback sets out as a message of its own.
"""

import logging
from typing import NamedTuple

from broker.delivery import Outcome
from broker.models import DeadLetter, Event, Message, State, Verdict, settle
from broker.publishing import publish_failure_callback
from broker.retry import delay_ms
from groupcommit.statements import insert_all

logger = logging.getLogger(__name__)


class Settlement(NamedTuple):
    """An attempt that has ended, to be written down."""

    message: Message
    outcome: Outcome
    now: int

    def verdict(self) -> Verdict:
        """Delivered, failed for good, or to be tried again."""
        message, outcome, now = self
        if outcome.accepted:
            return Verdict(message, State.DELIVERED, now)
        if outcome.hopeless or message.retried >= message.max_retries:
            return Verdict(message, State.FAILED, now)
        expression = message.retry_delay_expression
        delay = delay_ms(message.retried, expression, outcome.header, now)
        return Verdict(message, State.RETRY, now, delay)

    def event(self) -> Event:
        """What came back, as a line of the log."""
        return Event(
            message=self.message,
            state=State.DELIVERED if self.outcome.accepted else State.ERROR,
            time=self.now,
            error=self.outcome.error,
            response_status=self.outcome.status or None,
            response_header=self.outcome.header,
            response_body=self.outcome.body,
        )


def settle_all(settlements: list[Settlement]) -> list[bool]:
    """Write down what became of attempts; False where the claim had been lost."""
    verdicts = [settlement.verdict() for settlement in settlements]
    moved = settle(verdicts)
    events: list[Event] = []
    for settlement, verdict, won in zip(settlements, verdicts, moved, strict=True):
        if won:
            events.append(settlement.event())
            events += events_after(verdict, settlement.outcome)
    insert_all(events)
    for settlement, verdict, won in zip(settlements, verdicts, moved, strict=True):
        if won and verdict.state == State.FAILED:
            bury(settlement)
    return moved


def events_after(verdict: Verdict, outcome: Outcome) -> list[Event]:
    """The log's second line about an attempt that failed: another one follows, or none."""
    message, state, now, delay = verdict
    log = {"message_id": message.message_id, "attempt": message.retried + 1}
    if state == State.DELIVERED:
        logger.info("delivered", extra=log | {"status": outcome.status})
        return []
    if state == State.FAILED:
        logger.warning("failed for good", extra=log | {"error": outcome.error})
        return [Event(message=message, state=state, time=now, error=outcome.error)]
    logger.warning("will be tried again", extra=log | {"error": outcome.error, "in_ms": delay})
    return [Event(message=message, state=state, time=now, next_delivery_time=now + delay)]


def bury(settlement: Settlement) -> None:
    """Keep a failed message as a dead letter, and tell its failure callback."""
    message, outcome, now = settlement
    letter = DeadLetter.objects.create(
        message=message,
        failed_at=now,
        response_status=outcome.status,
        response_header=outcome.header,
        response_body=outcome.body,
    )
    publish_failure_callback(message, letter)
