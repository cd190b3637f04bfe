"""What an attempt leaves behind: the message moves on, and its log says why.

The dispatcher has delivered, or tried to. A message that was accepted is done; one that was
not waits for the next attempt; one that has none left becomes a dead letter. Its callbacks set
out as messages of their own (callbacks.py), and its lanes are told that there is room.
"""

import logging
from typing import NamedTuple

from broker import callbacks, lanes
from broker.delivery import Outcome
from broker.models import DeadLetter, Event, Message, State
from broker.publishing import store
from broker.retention import kept_until
from broker.retry import delay_ms
from groupcommit.statements import insert_all, update_returning

logger = logging.getLogger(__name__)


class Settlement(NamedTuple):
    """An attempt that has ended, to be written down."""

    message: Message
    outcome: Outcome
    now: int

    def verdict(self) -> tuple[State, int]:
        """DELIVERED, FAILED, or RETRY and the moment of the next attempt in unix ms."""
        message, outcome, now = self
        if outcome.accepted:
            return State.DELIVERED, now
        if outcome.hopeless or message.retried >= message.max_retries:
            return State.FAILED, now
        expression = message.retry_delay_expression
        return State.RETRY, now + delay_ms(message.retried, expression, outcome.header, now)


@lanes.locked_for(lambda settlement: [settlement.message])
def settle_all(settlements: list[Settlement]) -> list[bool]:
    """Write down what became of attempts; False where the claim had been lost."""
    verdicts = [settlement.verdict() for settlement in settlements]
    moved = move(settlements, verdicts)
    settled = [settlement for settlement in settlements if settlement.message.pk in moved]
    events: list[Event] = []
    for settlement, (_, due_at) in zip(settlements, verdicts, strict=True):
        if state := moved.get(settlement.message.pk):
            events += events_of(settlement, state, due_at)
    insert_all(events)
    failed = [done for done in settled if moved[done.message.pk] == State.FAILED]
    told = [news for done in settled for news in callbacks.of_attempt(*done)]
    for letter, (message, outcome, now) in zip(bury(failed), failed, strict=True):
        told += callbacks.of_failure(message, outcome, letter, now)
    if told:
        store(told)
    laned = [done.message for done in settled if done.message.has_lane]
    if laned:
        lanes.mark_due(laned, settlements[-1].now)
    return [settlement.message.pk in moved for settlement in settlements]


def move(settlements: list[Settlement], verdicts: list[tuple[State, int]]) -> dict[int, State]:
    """Move messages on from their attempt, in one UPDATE: {primary key: new state}.

    A message that was canceled meanwhile ends as CANCELED unless it was accepted.
    """
    on = "(verdict.state = 'RETRY' AND broker_message.state = 'ACTIVE')"
    rows = update_returning(
        "WITH verdict(id, dispatcher, attempt, state, due_at, expires_at) AS ({rows})"
        " UPDATE broker_message SET claimed_by = '', runs_in = NULL,"
        f" retried = verdict.attempt + CASE WHEN {on} THEN 1 ELSE 0 END,"
        " state = CASE WHEN broker_message.state = 'ACTIVE' OR verdict.state = 'DELIVERED'"
        " THEN verdict.state ELSE 'CANCELED' END,"
        f" due_at = CASE WHEN {on} THEN verdict.due_at END,"
        f" slot = CASE WHEN {on} THEN slot END,"
        f" expires_at = CASE WHEN NOT {on} THEN verdict.expires_at END"
        " FROM verdict WHERE broker_message.id = verdict.id"
        " AND broker_message.state IN ('ACTIVE', 'CANCEL_REQUESTED')"
        " AND claimed_by = verdict.dispatcher AND broker_message.retried = verdict.attempt"
        " RETURNING broker_message.id, broker_message.state",
        [
            (
                message.id,
                message.claimed_by,
                message.retried,
                state,
                due_at,
                kept_until(state, now),
            )
            for (message, _, now), (state, due_at) in zip(settlements, verdicts, strict=True)
        ],
    )
    return {message: State(state) for message, state in rows}


def events_of(settlement: Settlement, state: State, due_at: int) -> list[Event]:
    """What came back, and what follows from it, as lines of the log."""
    message, outcome, now = settlement
    line = Event(
        account=message.account,
        message=message,
        state=State.DELIVERED if outcome.accepted else State.ERROR,
        time=now,
        error=outcome.error,
        response_status=outcome.status or None,
        response_header=outcome.header,
        response_body=outcome.body,
    )
    log = {"message_id": message.message_id, "attempt": message.retried + 1}
    if state == State.DELIVERED:
        logger.info("delivered", extra=log | {"status": outcome.status})
        return [line]
    log["error"] = outcome.error
    next_line = Event(account=message.account, message=message, state=state, time=now)
    if state == State.RETRY:
        logger.warning("will be tried again", extra=log | {"in_ms": due_at - now})
        next_line.next_delivery_time = due_at
    else:
        next_line.error = outcome.error
        word = "canceled" if state == State.CANCELED else "failed for good"
        logger.warning(word, extra=log)
    return [line, next_line]


def bury(failed: list[Settlement]) -> list[DeadLetter]:
    """Keep failed messages as dead letters."""
    return DeadLetter.objects.bulk_create(
        DeadLetter(
            account=message.account,
            message=message,
            failed_at=now,
            response_status=outcome.status,
            response_header=outcome.header,
            response_body=outcome.body,
        )
        for message, outcome, now in failed
    )
