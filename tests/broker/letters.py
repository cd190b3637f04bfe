"""Dead letters to test with: messages whose only attempt has failed."""

from broker.delivery import Outcome
from broker.models import DeadLetter, Message, State
from broker.settling import Settlement, settle_all
from groupcommit.writer import writer
from tests.broker.messages import ERROR, NOW, new_message

ALL_FIELDS = {
    "url": "https://a.test/p?b=1,2",
    "host": "a.test",
    "path": "/p",
    "method": "PUT",
    "header": {"X": ["1"], "Content-Type": ["text/plain"]},
    "body": b"\xff",
    "timeout_seconds": 7,
    "max_retries": 0,
    "retry_delay_expression": "1000",
    "flow_control_key": "k",
    "flow_control": {"rate": 3, "period": 60},
    "callback": "https://back.test/",
    "callback_header": {"upstash-retries": ["1"]},
    "failure_callback": "https://fail.test/",
    "failure_callback_header": {"upstash-retries": ["2"]},
    "queue_name": "q",
    "schedule_id": "scd_1",
    "url_group": "g",
    "endpoint_name": "e",
    "labels": ",a,b,",
    "redacted": ["body"],
    "caller_ip": "::1",
}


def bury(*messages: Message, outcome: Outcome = ERROR) -> None:
    """Make dead letters of messages, in this order, one ms after the other."""
    for message in messages:
        message.state, message.claimed_by, message.max_retries = State.ACTIVE, "one", 0
    Message.objects.bulk_create(messages)
    assert all(settle_all([Settlement(m, outcome, NOW + n) for n, m in enumerate(messages)]))


async def buried(count: int = 1, outcome: Outcome = ERROR, **fields: object) -> list[str]:
    """Ids of new dead letters, labelled 0, 1, 2, …, oldest first."""
    messages = [new_message(**{"labels": f",{n},"} | fields) for n in range(count)]
    await writer.write(bury_all, (messages, outcome))
    letters = DeadLetter.objects.order_by("id")
    return [letter.dlq_id async for letter in letters][-count:]


def bury_all(given: list[tuple[list[Message], Outcome]]) -> list[None]:
    for messages, outcome in given:
        bury(*messages, outcome=outcome)
    return [None] * len(given)


async def waiting() -> list[Message]:
    return [message async for message in Message.objects.filter(state=State.CREATED).order_by("id")]
