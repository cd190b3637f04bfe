"""The Python SDK, sync and async, finds and removes messages: cancel, logs, dead letters.

It also reads and rotates the signing keys. Each test has an account of its own.
"""

import pytest
from qstash import Receiver
from qstash.errors import QStashError
from qstash.log import LogState

from harness.waiting import eventually
from tests.clients.logs import dead_letter, states, until


def waiting(qstash, destination, count, path="/"):
    """Ids of messages that are not due for an hour."""
    return [
        qstash.message.publish(url=destination.url(path), delay="1h").message_id
        for _ in range(count)
    ]


def failed(qstash, destination, count=1, **options):
    """Dead letters of messages that were answered with 404."""
    published = [
        qstash.message.publish(url=destination.url("/status/404"), retries=0, **options)
        for _ in range(count)
    ]
    return [dead_letter(qstash, message.message_id) for message in published]


def test_cancelled_message_is_gone(qstash, destination):
    (message_id,) = waiting(qstash, destination, 1)
    qstash.message.cancel(message_id)
    with pytest.raises(QStashError, match="404"):
        qstash.message.get(message_id)
    with pytest.raises(QStashError, match="404"):
        qstash.message.cancel(message_id)
    assert states(qstash, message_id) == [
        LogState.CREATED, LogState.CANCEL_REQUESTED, LogState.CANCELED
    ]  # fmt: skip


def test_messages_are_cancelled_by_their_ids(qstash, destination):
    first, second, third = waiting(qstash, destination, 3)
    assert qstash.message.cancel_many([first, second, "msg_unknown"]) == 2
    assert qstash.message.get(third).message_id == third
    assert qstash.message.cancel_all() == 1
    assert qstash.message.cancel_all() == 0


def test_messages_can_be_cancelled_during_an_attempt(qstash, destination):
    published = [qstash.message.publish(url=destination.url("/held"), retries=3) for _ in range(2)]
    destination.received(2, "/held")
    assert qstash.message.cancel_many([message.message_id for message in published]) == 2
    destination.release()
    for message in published:
        until(qstash, message.message_id, LogState.CANCEL_REQUESTED)


def test_messages_between_retries_can_be_cancelled(qstash, destination):
    ids = [
        qstash.message.publish(url=destination.url("/status/404"), retries=3).message_id
        for _ in range(2)
    ]
    for message_id in ids:
        until(qstash, message_id, LogState.RETRY)
    assert qstash.message.cancel_all() == 2
    assert states(qstash, ids[0])[-1] == LogState.CANCELED
    assert qstash.dlq.list().messages == []


def test_messages_of_another_account_are_out_of_reach(qstash, new_account, destination):
    (message_id,) = waiting(qstash, destination, 1)
    other = new_account()
    assert other.http("GET", f"/v2/messages/{message_id}").status_code == 404
    assert other.http("DELETE", f"/v2/messages/{message_id}").status_code == 404
    assert other.http("DELETE", "/v2/messages").json() == {"cancelled": 0}
    assert other.http("GET", "/v2/events").json()["events"] == []
    assert qstash.message.get(message_id).message_id == message_id


def test_logs_are_filtered(qstash, destination):
    qstash.queue.upsert("orders", paused=True)
    qstash.url_group.upsert_endpoints("all", [{"url": destination.url("/group")}])
    url = destination.url("/labelled?a=1,2")
    labelled = qstash.message.publish(url=url, label="blue", delay=60).message_id
    queued = qstash.message.enqueue(queue="orders", url=destination.url("/q")).message_id
    (grouped,) = qstash.message.publish(url_group="all")
    until(qstash, grouped.message_id, LogState.DELIVERED)

    def found(**wanted):
        return {line.message_id for line in qstash.log.list(filter=wanted).logs}

    assert found() == {labelled, queued, grouped.message_id}
    assert found(label="blue") == found(url=url) == {labelled}
    assert found(queue="orders") == {queued}
    assert found(url_group="all") == {grouped.message_id}
    assert found(state=LogState.DELIVERED) == {grouped.message_id}
    assert found(message_ids=[labelled, queued]) == {labelled, queued}
    assert found(label="blue", queue="orders") == found(schedule_id="scd_1") == set()
    (line,) = qstash.log.list(filter={"label": "blue"}).logs
    assert found(from_time=line.time, to_time=line.time, label="blue") == {labelled}
    assert found(to_time=line.time - 1) == set()


def test_logs_come_in_pages_newest_first(qstash, destination):
    ids = waiting(qstash, destination, 5)
    pages, cursor = [], None
    while not pages or cursor:
        page = qstash.log.list(count=2, cursor=cursor)
        pages.append([line.message_id for line in page.logs])
        cursor = page.cursor
    assert [len(page) for page in pages[:3]] == [2, 2, 1]
    assert sum(pages, []) == ids[::-1]


def test_failed_message_becomes_a_dead_letter(qstash, destination):
    (letter,) = failed(qstash, destination, body="hi", label="blue", retry_delay="1000")
    assert (letter.response_status, letter.response_body) == (404, "404 Not Found")
    assert letter.response_headers["Content-Type"] == ["text/plain"]
    assert (letter.url, letter.body) == (destination.url("/status/404"), "hi")
    assert (letter.max_retries, letter.label) == (0, "blue")
    assert letter.retry_delay_expression == "1000"
    assert qstash.dlq.get(letter.dlq_id) == letter
    assert [line.dlq_id for line in qstash.dlq.list().messages] == [letter.dlq_id]


def test_dead_letters_are_deleted(qstash, destination):
    first, *others = failed(qstash, destination, 4)
    qstash.dlq.delete(first.dlq_id)
    with pytest.raises(QStashError, match="404"):
        qstash.dlq.get(first.dlq_id)
    with pytest.raises(QStashError, match="404"):
        qstash.dlq.delete(first.dlq_id)
    assert qstash.dlq.delete_many([letter.dlq_id for letter in others[:2]]) == 2
    assert [letter.dlq_id for letter in qstash.dlq.list().messages] == [others[2].dlq_id]


def test_dead_letters_are_filtered(qstash, destination):
    blue, green = (failed(qstash, destination, label=label)[0] for label in ("blue", "green"))
    queued = qstash.message.enqueue(queue="q", url=destination.url("/status/500"), retries=0)
    other = dead_letter(qstash, queued.message_id)

    def found(**wanted):
        return {letter.dlq_id for letter in qstash.dlq.list(filter=wanted).messages}

    assert found(label="blue") == found(message_id=blue.message_id) == {blue.dlq_id}
    assert found(url=blue.url) == found(response_status=404) == {blue.dlq_id, green.dlq_id}
    assert found(queue="q") == found(response_status=500) == {other.dlq_id}
    assert found(caller_ip="127.0.0.1", label="green") == {green.dlq_id}
    assert found(caller_ip="192.0.2.1") == found(url_group="g") == found(schedule_id="s") == set()
    assert found(from_time=blue.created_at) == {blue.dlq_id, green.dlq_id, other.dlq_id}
    assert found(to_time=blue.created_at - 1) == set()


def test_dead_letters_come_in_pages(qstash, destination):
    letters = {letter.dlq_id for letter in failed(qstash, destination, 3)}
    page = qstash.dlq.list(count=2)
    rest = qstash.dlq.list(count=2, cursor=page.cursor)
    assert (len(page.messages), len(rest.messages), rest.cursor) == (2, 1, None)
    assert {letter.dlq_id for letter in page.messages + rest.messages} == letters


def test_rotated_keys_are_known_to_receivers_of_the_old_ones(qstash, account, destination):
    keys = qstash.signing_key.get()
    assert (keys.current, keys.next) == (account.current, account.next)
    rotated = qstash.signing_key.rotate()
    assert rotated.current == keys.next
    assert rotated.next not in {keys.current, keys.next}
    assert qstash.signing_key.get() == rotated
    qstash.message.publish(url=destination.url(), body="x")
    request = destination.first()
    account.accepts(request, destination.url())
    Receiver(rotated.current, rotated.next).verify(
        signature=request.headers["Upstash-Signature"], body="x", url=destination.url()
    )


def test_lag_counts_the_messages_that_wait(qstash, destination):
    qstash.queue.upsert("orders", paused=True)
    for _ in range(3):
        qstash.message.enqueue(queue="orders", url=destination.url())
    assert qstash.queue.get("orders").lag == 3
    assert qstash.message.cancel_all() == 3
    eventually(lambda: qstash.queue.get("orders").lag == 0)
