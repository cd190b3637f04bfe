"""Write down the outcome of an attempt: the message's new state, and its log.

The dispatcher has delivered the message, or tried to. If it was accepted it is done; if not, it
waits for the next attempt, or becomes a dead letter after the last. Its callbacks are published
as messages of their own (callbacks.py), and its lanes are marked due, as there is room again.
"""

import logging
from typing import Any, NamedTuple

from broker import callbacks, lanes, wakeup
from broker.delivery import Outcome
from broker.models import DeadLetter, Event, Message, State
from broker.publishing import store
from broker.retention import kept_until
from broker.retry import delay_ms
from groupcommit.statements import insert_all, update_returning

logger = logging.getLogger(__name__)


class Settlement(NamedTuple):
    """An attempt that has ended, to be written down.

    `given_up`: this could not be written down. The message fails, with the outcome's error as
    the reason, and nobody is called back.
    """

    message: Message
    outcome: Outcome
    now: int
    given_up: bool = False

    def next_state(self) -> tuple[State, int]:
        """Return DELIVERED, FAILED or RETRY, and for RETRY when to try again (unix ms)."""
        message, outcome, now, given_up = self
        if given_up:
            return State.FAILED, now
        if outcome.accepted:
            return State.DELIVERED, now
        if outcome.hopeless or message.retried >= message.max_retries:
            return State.FAILED, now
        expression = message.retry_delay_expression
        return State.RETRY, now + delay_ms(message.retried, expression, outcome.header, now)


@lanes.locked_for(lambda settlement: [settlement.message])
def settle_all(settlements: list[Settlement]) -> list[State | None]:
    """Write down what became of attempts; return new states, None where the claim had been lost."""
    next_states = [settlement.next_state() for settlement in settlements]
    moved = move(settlements, next_states)
    settled = [settlement for settlement in settlements if settlement.message.pk in moved]
    events: list[Event] = []
    for settlement, (_, due_at) in zip(settlements, next_states, strict=True):
        if state := moved.get(settlement.message.pk):
            events += events_of(settlement, state, due_at)
    insert_all(events)
    failed = [done for done in settled if moved[done.message.pk] == State.FAILED]
    reports = []
    for message, outcome, now, given_up in settled:
        reports += [] if given_up else callbacks.of_attempt(message, outcome, now)
    for letter, done in zip(make_dead_letters(failed), failed, strict=True):
        if not done.given_up:
            reports += callbacks.of_failure(done.message, done.outcome, letter, done.now)
    if reports:
        store(reports, by_queue=True)
    laned = [done.message for done in settled if done.message.has_lane]
    if laned:
        lanes.mark_due(laned, settlements[-1].now)
        wakeup.on_commit()  # this dispatcher may not be the one that is on duty
    return [moved.get(settlement.message.pk) for settlement in settlements]


def log_attempt(settlement: Settlement, state: State) -> None:
    """Log what became of a message by an attempt that has been written down."""
    message, outcome, now, _ = settlement
    extra: dict[str, Any] = {"message_id": message.message_id, "attempt": message.retried + 1}
    if state == State.DELIVERED:
        logger.info("message delivered", extra=extra | {"status": outcome.status})
        return
    extra["error"] = outcome.error
    if state == State.RETRY:
        due_at = settlement.next_state()[1]
        logger.warning("message will be retried", extra=extra | {"in_ms": due_at - now})
    elif state == State.CANCELED:
        logger.warning("message cancelled", extra=extra)
    else:
        logger.warning("message failed", extra=extra)


def move(settlements: list[Settlement], next_states: list[tuple[State, int]]) -> dict[int, State]:
    """Update messages after their attempt in one statement; return {primary key: new state}.

    A message that was cancelled meanwhile ends as CANCELED unless it was accepted.
    """
    on = "(v.state = 'RETRY' AND broker_message.state = 'ACTIVE')"
    rows = update_returning(
        "WITH v(id, dispatcher, attempt, state, due_at, expires_at) AS ({rows})"
        " UPDATE broker_message SET claimed_by = '', runs_in = NULL,"
        f" retried = v.attempt + CASE WHEN {on} THEN 1 ELSE 0 END,"
        " state = CASE WHEN broker_message.state = 'ACTIVE' OR v.state = 'DELIVERED'"
        " THEN v.state ELSE 'CANCELED' END,"
        f" due_at = CASE WHEN {on} THEN v.due_at END,"
        f" slot = CASE WHEN {on} THEN slot END,"
        f" expires_at = CASE WHEN NOT {on} THEN v.expires_at END"
        " FROM v WHERE broker_message.id = v.id"
        " AND broker_message.state IN ('ACTIVE', 'CANCEL_REQUESTED')"
        " AND claimed_by = v.dispatcher AND broker_message.retried = v.attempt"
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
            for (message, _, now, _), (state, due_at) in zip(settlements, next_states, strict=True)
        ],
    )
    return {message: State(state) for message, state in rows}


def events_of(settlement: Settlement, state: State, due_at: int) -> list[Event]:
    """Return the log's lines for an attempt: what came back, and what follows from it."""
    message, outcome, now, given_up = settlement
    line = Event(
        account=message.account,
        message_id=message.pk,
        state=State.DELIVERED if outcome.accepted and not given_up else State.ERROR,
        time=now,
        error=outcome.error,
        response_status=outcome.status or None,
        response_header=outcome.header,
        response_body=outcome.body,
    )
    if state == State.DELIVERED:
        return [line]
    next_line = Event(account=message.account, message_id=message.pk, state=state, time=now)
    if state == State.RETRY:
        next_line.next_delivery_time = due_at
    else:
        next_line.error = outcome.error
    return [line, next_line]


def make_dead_letters(failed: list[Settlement]) -> list[DeadLetter]:
    """Store failed messages as dead letters."""
    return DeadLetter.objects.bulk_create(
        DeadLetter(
            account=message.account,
            message=message,
            failed_at=now,
            response_status=outcome.status,
            response_header=outcome.header,
            response_body=outcome.body,
        )
        for message, outcome, now, _ in failed
    )
