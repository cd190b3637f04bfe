"""What is counted when an attempt has been settled, and a batch written."""

import pytest

from broker.delivery import Outcome
from broker.dispatcher import Dispatcher
from broker.publishing import store
from broker.signals import attempt_settled
from groupcommit.signals import batch_written
from groupcommit.writer import writer
from operations import instruments
from tests.broker.messages import ERROR, NOW, OK, Destination, new_message

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def counting():
    instruments.connect()
    yield
    attempt_settled.disconnect(instruments.count_attempt)
    batch_written.disconnect(instruments.count_batch)


def now() -> dict[str, float]:
    families = (instruments.attempts, instruments.attempt_seconds, instruments.delivery_seconds)
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for metric in (*families, instruments.commit_writes)
        for family in metric.collect()
        for sample in family.samples
    }


async def deliver(*outcomes: Outcome, **fields: object) -> dict[str, float]:
    """Attempt a message once for each outcome, a second after it was due; what was counted."""
    before = now()
    message = new_message(**fields)
    await writer.write(store, message)
    moment = NOW
    dispatcher = Dispatcher(Destination(*outcomes), lambda: moment)
    for _ in outcomes:
        await message.arefresh_from_db()
        moment = (message.due_at or 0) + 1000
        assert await dispatcher.run_once() == 1
    return {name: value - before[name] for name, value in now().items() if value != before[name]}


async def test_delivery_is_counted_with_its_latency(counting):
    counted = await deliver(OK)
    assert counted["queue_attempts_total delivered"] == 1
    assert counted["queue_attempt_seconds_count delivered"] == 1
    assert counted["queue_delivery_seconds_sum first"] == pytest.approx(1.0)
    assert counted["queue_commit_writes_count"] >= 3
    assert "queue_attempts_total failed" not in counted


async def test_later_attempt_is_told_from_the_first(counting):
    counted = await deliver(ERROR, OK)
    assert counted["queue_attempts_total retried"] == 1
    assert counted["queue_delivery_seconds_count later"] == 1
    assert counted["queue_delivery_seconds_sum later"] > 1


async def test_last_attempt_fails(counting):
    assert (await deliver(ERROR, max_retries=0))["queue_attempts_total failed"] == 1


async def test_nothing_is_counted_where_nobody_listens():
    assert await deliver(OK) == {}
