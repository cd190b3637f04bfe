"""Dead letters are retried: new messages like the old ones, each letter once."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from broker.clock import now_ms
from broker.dispatcher import Dispatcher
from broker.models import DeadLetter, Message, Queue, State
from broker.resources.dead_letters import Taking, delete, retry
from groupcommit.transactions import write_transaction
from tests.broker.calls import ask
from tests.broker.letters import ALL_FIELDS, buried, bury, waiting
from tests.broker.messages import NOW, OK, Destination, new_message

pytestmark = pytest.mark.django_db(transaction=True)


async def left() -> int:
    return await DeadLetter.objects.acount()


async def test_retried_letter_becomes_a_new_message_like_the_old():
    (dlq_id,) = await buried(deduplication_key="once", **ALL_FIELDS)
    old, before = await Message.objects.aget(state=State.FAILED), now_ms()
    answer = await ask("POST", f"dlq/retry/{dlq_id}")
    new = await Message.objects.aget(message_id=answer.json["messageId"])
    assert (answer.status, answer.json["url"]) == (201, old.url)
    for name, value in ALL_FIELDS.items():
        assert getattr(new, name) == value, name
    assert before <= new.created_at == new.not_before <= now_ms()
    assert (new.retried, new.deduplication_key, new.account) == (0, "", "site")
    assert new.message_id != old.message_id


async def test_retried_letter_is_gone_and_its_log_stays():
    (dlq_id,) = await buried(message_id="msg_a")
    await ask("POST", f"dlq/retry/{dlq_id}")
    assert await left() == 0
    assert (await ask("POST", f"dlq/retry/{dlq_id}")).status == 404
    lines = (await ask("GET", "events?messageId=msg_a")).json["events"]
    assert [line["state"] for line in lines] == ["FAILED", "ERROR"]


async def test_retry_delivers_what_is_redacted():
    (dlq_id,) = await buried(body=b"secret", header={"A": ["1"]}, redacted=["body", "header"])
    new = (await ask("POST", f"dlq/retry/{dlq_id}")).json["messageId"]
    destination = Destination(OK)
    await Dispatcher(destination, now_ms).run_once()
    (message,) = destination.messages
    assert (message.message_id, message.retried) == (new, 0)
    assert (bytes(message.body), message.header) == (b"secret", {"A": ["1"]})
    told = (await ask("GET", f"messages/{new}")).json
    assert told["body"].startswith("REDACTED:")


async def test_retried_messages_keep_their_order_in_their_queue():
    ids = await buried(3, queue_name="q", max_retries=0)
    answer = await ask("POST", "dlq/retry", {"dlqIds": [ids[2], ids[0], ids[1]]})
    placed = Message.objects.filter(lane="queue:q").order_by("place")
    assert [message.labels async for message in placed] == [",0,", ",1,", ",2,"]
    assert await Queue.objects.filter(name="q").aexists()
    told = [response["messageId"] for response in answer.json["responses"]]
    assert told == [message.message_id for message in await waiting()]


async def test_all_are_retried_page_by_page():
    await buried(5)
    first = await ask("POST", "dlq/retry?count=3&cursor=")
    assert (first.status, len(first.json["responses"])) == (201, 3)
    assert [message.labels for message in await waiting()] == [",2,", ",3,", ",4,"]
    rest = (await ask("POST", f"dlq/retry?cursor={first.json['cursor']}")).json
    assert (len(rest["responses"]), "cursor" in rest) == (2, False)
    assert (await ask("POST", "dlq/retry")).json == {"responses": []}


async def test_headers_of_the_retry_change_the_new_message():
    (dlq_id,) = await buried(**ALL_FIELDS)
    changes = {
        "Upstash-Method": "PATCH",
        "Upstash-Retries": "5",
        "Upstash-Retry-Delay": "7",
        "Upstash-Timeout": "9s",
        "Upstash-Delay": "1m",
        "Upstash-Label": "new",
        "Upstash-Redact-Fields": "header",
        "Upstash-Forward-X": "2",
        "Upstash-Forward-Y": "3",
        "Upstash-Callback": "https://new.test/",
        "Upstash-Flow-Control-Key": "k2",
        "Upstash-Flow-Control-Value": "parallelism=1",
        "Content-Type": "application/json",
        "Upstash-Deduplication-Id": "once",
    }
    answer = await ask("POST", f"dlq/retry/{dlq_id}", b"", changes)
    new = await Message.objects.aget(message_id=answer.json["messageId"])
    assert (new.method, new.max_retries, new.retry_delay_expression) == ("PATCH", 5, "7")
    assert (new.timeout_seconds, new.labels, new.redacted) == (9, ",new,", ["header"])
    assert new.not_before == new.due_at == new.created_at + 60_000
    assert new.header == {"X": ["2"], "Y": ["3"], "Content-Type": ["text/plain"]}
    assert (new.callback, new.callback_header) == ("https://new.test/", {})
    assert (new.failure_callback, new.deduplication_key) == ("https://fail.test/", "")
    assert (new.flow_control_key, new.flow_control) == ("k2", {"parallelism": 1, "period": 1})


async def test_retry_of_many_may_be_changed_in_the_query():
    await buried(2)
    answer = await ask("POST", "dlq/retry?upstash-retries=9&count=1&Upstash-Label=x")
    assert len(answer.json["responses"]) == 1
    (new,) = await waiting()
    assert (new.max_retries, new.labels) == (9, ",x,")


async def test_wrong_header_refuses_the_retry_and_keeps_the_letter():
    (dlq_id,) = await buried()
    for target in ("dlq/retry", f"dlq/retry/{dlq_id}"):
        answer = await ask("POST", target, b"", {"Upstash-Retries": "many"})
        assert answer.status == 400
        assert "Upstash-Retries" in answer.error
    assert await left() == 1


async def test_retry_makes_its_queue_whatever_the_quota(settings):
    (dlq_id,) = await buried(queue_name="q")
    settings.BROKER_QUEUES = 0
    assert (await ask("POST", f"dlq/retry/{dlq_id}")).status == 201
    assert (await left(), len(await waiting())) == (0, 1)


def test_of_two_who_retry_a_letter_one_succeeds():
    bury(*[new_message() for _ in range(20)])
    keys = list(DeadLetter.objects.values_list("id", flat=True))

    def retry_all(order: int) -> int:
        try:
            count = 0
            for key in keys[::order]:
                with write_transaction():
                    [receipts] = retry([Taking("site", [key], {}, NOW)])
                count += len(receipts)
            return count
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(retry_all, [1, 1, -1, -1])) == 20
    assert Message.objects.filter(state=State.CREATED).count() == 20


def test_letter_of_another_account_is_out_of_reach_by_its_key():
    bury(new_message())
    assert retry([Taking("other", [DeadLetter.objects.get().id], {}, NOW)]) == [[]]
    assert DeadLetter.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("action", [retry, delete])
def test_taking_no_letters_changes_nothing(action):
    [taken] = action([Taking("site", [], {}, 0)])
    assert not taken
