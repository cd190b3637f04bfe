"""What tests look up about a published message, with the Python SDK."""

from typing import Any

from qstash.dlq import DlqMessage
from qstash.log import Log, LogState

from harness.waiting import eventually


def states(qstash: Any, message_id: str) -> list[LogState]:
    """The states of a message so far, in order."""
    logs = qstash.log.list(filter={"message_id": message_id}).logs
    return [line.state for line in reversed(logs)]


def until(qstash: Any, message_id: str, state: LogState) -> Log:
    """Wait until a message has been in a state; return the newest line of its log with it."""

    def look() -> Log | None:
        logs = qstash.log.list(filter={"message_id": message_id}).logs
        return next((line for line in logs if line.state == state), None)

    return eventually(look, what=state.value)


def dead_letter(qstash: Any, message_id: str) -> DlqMessage:
    """Wait until a message has failed for good."""

    def look() -> list[DlqMessage]:
        return qstash.dlq.list(filter={"message_id": message_id}).messages

    return eventually(look, what="the dead letter")[0]
