"""A dead letter that somebody retries: the queue delivers it again, and its job runs again."""

import pytest
from django.test import AsyncClient

from broker.connections import Connections
from broker.delivery import Outcome, headers_for
from broker.dispatcher import Dispatcher
from broker.models import DeadLetter, Message
from jobs.changes import detail
from jobs.models import Job
from jobs.tasks import long_task
from tests.broker.calls import ask

pytestmark = pytest.mark.django_db(transaction=True)


async def deliver(connections: Connections, message: Message, key: str) -> Outcome:
    """Make the POST to this site without a network."""
    headers = {k: v for k, v in headers_for(message, key).items() if k != "Content-Type"}
    path = "/" + message.url.partition("//")[2].partition("/")[2]
    answer = await AsyncClient().post(
        path, bytes(message.body), content_type="application/json", headers=headers
    )
    return Outcome(answer.status_code, dict(answer.headers), answer.content, "")


async def run_until_nothing_is_due() -> None:
    dispatcher = Dispatcher(deliver)
    for _ in range(20):
        await Message.objects.exclude(due_at=None).aupdate(due_at=0)
        if not await dispatcher.run_once():
            return


async def test_job_whose_dead_letter_is_retried_runs_again(sink, settings):
    sink.answer = lambda request: 500
    result = await long_task.using(retries=0).aenqueue(sink.url)
    await run_until_nothing_is_due()
    job = await Job.objects.aget(id=result.id)
    assert job.status == "failed"

    sink.answer = lambda request: 200
    letter = await DeadLetter.objects.aget()
    token = settings.BROKER_ACCOUNTS["site"]["token"]
    retried = await ask("POST", f"dlq/retry/{letter.dlq_id}", token=token)
    assert (retried.status, bool(retried.json["messageId"])) == (201, True)
    await run_until_nothing_is_due()
    await job.arefresh_from_db()
    assert (job.status, job.steps_done) == ("succeeded", 10)
    assert job.message_id == retried.json["messageId"]
    shown = await detail(job, job.owner)
    assert [bar.state for bar in shown["bars"] if bar.label.startswith("attempt")] == [
        "failed",
        "succeeded",
    ]
    assert ("Last answer", "HTTP 200") in shown["facts"]["Response"]
