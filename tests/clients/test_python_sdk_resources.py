"""The Python SDK, sync and async, sets up queues, URL groups, schedules and flow control.

It publishes batches, too. The tests look at what is delivered; each has an account of its own.
"""

import pytest
from qstash.errors import QStashError
from qstash.log import LogState
from qstash.schedule import ScheduleState

from harness.waiting import eventually
from tests.clients.logs import until


def test_queue_is_created_changed_listed_and_deleted(qstash):
    qstash.queue.upsert("orders", parallelism=2)
    queue = qstash.queue.get("orders")
    assert (queue.name, queue.parallelism, queue.lag, queue.paused) == ("orders", 2, 0, False)
    assert 0 < queue.created_at <= queue.updated_at
    qstash.queue.upsert("orders", parallelism=5, paused=True)
    (queue,) = qstash.queue.list()
    assert (queue.parallelism, queue.paused) == (5, True)
    qstash.queue.delete("orders")
    assert qstash.queue.list() == []
    with pytest.raises(QStashError, match="404"):
        qstash.queue.get("orders")
    qstash.queue.delete("orders")


def test_queue_delivers_in_order(qstash, account, destination):
    url = destination.url("/queue")
    sent = [
        qstash.message.enqueue(queue="orders", url=url, body=f"{number}", method="PUT")
        for number in range(5)
    ]
    requests = destination.received(5, "/queue")
    assert [request.body for request in requests] == [b"0", b"1", b"2", b"3", b"4"]
    assert [request.headers["Upstash-Message-Id"] for request in requests] == [
        message.message_id for message in sent
    ]
    assert requests[0].method == "PUT"
    account.accepts(requests[4], url)
    assert qstash.queue.get("orders").parallelism == 1


def test_paused_queue_keeps_its_messages_until_it_is_resumed(qstash, destination):
    qstash.queue.upsert("orders", paused=True)
    queued = qstash.message.enqueue_json(queue="orders", url=destination.url(), body=[1])
    assert qstash.message.get(queued.message_id).queue == "orders"
    assert qstash.queue.get("orders").lag == 1
    qstash.queue.resume("orders")
    assert destination.first().body == b"[1]"
    eventually(lambda: qstash.queue.get("orders").lag == 0)
    qstash.queue.pause("orders")
    assert qstash.queue.get("orders").paused


def test_batch_goes_to_urls_groups_and_queues(qstash, account, destination):
    qstash.url_group.upsert_endpoints(
        "all", [{"url": destination.url("/a")}, {"url": destination.url("/b")}]
    )
    plain, group, queued = qstash.message.batch(
        [
            {
                "url": destination.url("/plain"),
                "body": "1",
                "method": "PUT",
                "headers": {"x-a": "1"},
            },
            {"url_group": "all", "body": "2", "content_type": "text/x"},
            {"url": destination.url("/queue"), "queue": "orders", "body": "3"},
        ]
    )
    request = destination.first("/plain")
    assert (request.method, request.body, request.headers["X-A"]) == ("PUT", b"1", "1")
    assert request.headers["Upstash-Message-Id"] == plain.message_id
    assert [item.url for item in group] == [destination.url("/a"), destination.url("/b")]
    assert destination.first("/b").headers["Content-Type"] == "text/x"
    assert qstash.message.get(queued.message_id).queue == "orders"
    account.accepts(destination.first("/queue"), destination.url("/queue"))


def test_json_batch_keeps_each_messages_options(qstash, destination):
    first, second = qstash.message.batch_json(
        [
            {"url": destination.url("/one"), "body": {"n": 1}, "label": "blue", "retries": 7},
            {"url": destination.url("/two"), "delay": 3600},
        ]
    )
    request = destination.first("/one")
    assert (request.body, request.headers["Content-Type"]) == (b'{"n": 1}', "application/json")
    message = qstash.message.get(first.message_id)
    assert (message.label, message.max_retries) == ("blue", 7)
    message = qstash.message.get(second.message_id)
    assert (message.body, message.not_before - message.created_at) == ("null", 3_600_000)


def test_url_group_is_created_changed_listed_and_deleted(qstash):
    qstash.url_group.delete("all")
    qstash.url_group.upsert_endpoints(
        "all", [{"url": "https://a.test/", "name": "a"}, {"url": "https://b.test/"}]
    )
    group = qstash.url_group.get("all")
    assert [(end.name, end.url) for end in group.endpoints] == [
        ("a", "https://a.test/"),
        (None, "https://b.test/"),
    ]
    assert 0 < group.created_at <= group.updated_at
    qstash.url_group.upsert_endpoints("all", [{"url": "https://c.test/", "name": "a"}])
    qstash.url_group.remove_endpoints("all", [{"url": "https://b.test/"}])
    (group,) = qstash.url_group.list()
    assert [end.url for end in group.endpoints] == ["https://c.test/"]
    qstash.url_group.remove_endpoints("all", [{"name": "a"}])
    with pytest.raises(QStashError, match="404"):
        qstash.url_group.get("all")


def test_url_group_delivers_to_each_endpoint(qstash, account, destination):
    qstash.url_group.upsert_endpoints(
        "all",
        [{"url": destination.url("/a"), "name": "first"}, {"url": destination.url("/b")}],
    )
    published = qstash.message.publish_json(url_group="all", body={"n": 1}, headers={"x": "y"})
    assert [item.url for item in published] == [destination.url("/a"), destination.url("/b")]
    for item, path in zip(published, ["/a", "/b"], strict=True):
        request = destination.first(path)
        assert request.headers["Upstash-Topic-Name"] == "all"
        assert request.headers["Upstash-Message-Id"] == item.message_id
        account.accepts(request, destination.url(path))
    message = qstash.message.get(published[0].message_id)
    assert (message.url_group, message.endpoint, message.url) == ("all", "first", published[0].url)


def test_url_group_can_be_enqueued_to(qstash, destination):
    qstash.url_group.upsert_endpoints(
        "all", [{"url": destination.url("/a")}, {"url": destination.url("/b")}]
    )
    first, second = qstash.message.enqueue(queue="orders", url_group="all", body="x")
    assert (first.url, second.url) == (destination.url("/a"), destination.url("/b"))
    assert destination.first("/b").headers["Upstash-Message-Id"] == second.message_id
    message = qstash.message.get(first.message_id)
    assert (message.queue, message.url_group) == ("orders", "all")


def test_schedule_can_be_read_with_its_options(qstash):
    schedule_id = qstash.schedule.create(
        destination="https://a.test/",
        cron="CRON_TZ=Europe/Berlin 5 4 * * 0",
        body="hi",
        content_type="text/x",
        method="PUT",
        headers={"x-a": "1"},
        retries=2,
        delay="1m",
        timeout=30,
        callback="https://callback.test",
        retry_delay="1000",
        queue="orders",
        label="nightly",
        flow_control={"key": "k", "parallelism": 2},
    )
    schedule = qstash.schedule.get(schedule_id)
    assert schedule.cron == "CRON_TZ=Europe/Berlin 5 4 * * 0"
    assert schedule.destination == "https://a.test/"
    assert (schedule.method, schedule.body) == ("PUT", "hi")
    assert schedule.headers == {"Content-Type": ["text/x"], "X-A": ["1"]}
    assert (schedule.retries, schedule.delay, schedule.timeout) == (2, 60, 30)
    assert (schedule.callback, schedule.queue) == ("https://callback.test", "orders")
    assert (schedule.retry_delay_expression, schedule.label) == ("1000", "nightly")
    control = schedule.flow_control
    assert (control.parallelism, control.rate, control.period) == (2, None, 1)


def test_schedule_is_paused_listed_and_deleted(qstash):
    schedule_id = qstash.schedule.create(destination="https://a.test/", cron="* * * * *")
    schedule = qstash.schedule.get(schedule_id)
    assert schedule.next_schedule_time > schedule.created_at
    assert not schedule.paused
    qstash.schedule.pause(schedule_id)
    assert qstash.schedule.get(schedule_id).paused
    qstash.schedule.resume(schedule_id)
    assert [each.paused for each in qstash.schedule.list()] == [False]
    qstash.schedule.delete(schedule_id)
    assert qstash.schedule.list() == []


def test_schedule_publishes_signed_messages(qstash, account, destination, fire):
    url = destination.url("/nightly")
    schedule_id = qstash.schedule.create(
        destination=url, cron="0 0 1 1 *", body="tick", method="PUT", headers={"x-a": "1"}
    )
    fire(schedule_id)
    request = destination.first("/nightly")
    assert (request.method, request.body, request.headers["X-A"]) == ("PUT", b"tick", "1")
    assert request.headers["Upstash-Schedule-Id"] == schedule_id
    account.accepts(request, url)
    message_id = request.headers["Upstash-Message-Id"]
    until(qstash, message_id, LogState.DELIVERED)
    assert qstash.message.get(message_id).schedule_id == schedule_id
    schedule = qstash.schedule.get(schedule_id)
    assert schedule.last_schedule_states == {message_id: ScheduleState.SUCCESS}
    assert schedule.last_schedule_time >= schedule.created_at


def test_schedule_with_the_same_id_is_replaced_as_a_whole(qstash):
    created = qstash.schedule.create_json(
        destination="https://a.test/", cron="* * * * *", schedule_id="mine", body={"n": 1}
    )
    assert (created, qstash.schedule.get("mine").body) == ("mine", '{"n": 1}')
    qstash.schedule.create(destination="https://b.test/", cron="1 * * * *", schedule_id="mine")
    (schedule,) = qstash.schedule.list()
    assert (schedule.destination, schedule.cron) == ("https://b.test/", "1 * * * *")
    assert (schedule.body, schedule.headers or {}) == (None, {})


def test_bad_cron_is_refused(qstash):
    with pytest.raises(QStashError, match="400"):
        qstash.schedule.create(destination="https://a.test/", cron="61 * * * *")


def test_flow_control_reports_what_messages_asked_for(qstash, destination):
    control = {"key": "team/a b", "parallelism": 5, "rate": 10, "period": "1m"}
    qstash.message.publish(url=destination.url("/held"), flow_control=control)
    destination.first("/held")
    info = qstash.flow_control.get("team/a b")
    assert (info.key, info.parallelism_max, info.parallelism_count) == ("team/a b", 5, 1)
    assert (info.rate_max, info.rate_count, info.rate_period) == (10, 1, 60)
    assert (info.wait_list_size, info.is_paused, info.is_pinned_rate) == (0, False, False)
    qstash.flow_control.reset_rate("team/a b")
    assert qstash.flow_control.get("team/a b").rate_count == 0
    with pytest.raises(QStashError, match="404"):
        qstash.flow_control.get("another")


def test_flow_control_never_exceeds_its_parallelism(qstash, destination):
    for _ in range(3):
        qstash.message.publish(
            url=destination.url("/held"), flow_control={"key": "k", "parallelism": 2}
        )
    destination.received(2, "/held")
    eventually(lambda: qstash.flow_control.get("k").wait_list_size == 1)
    assert qstash.flow_control.get("k").parallelism_count == 2
    assert len(destination.requests) == 2
    destination.release()
    destination.received(3, "/held")


def test_paused_key_delivers_nothing_until_it_is_resumed(qstash, destination):
    qstash.flow_control.pause("k")
    qstash.message.publish(url=destination.url(), flow_control={"key": "k", "rate": 9})
    info = qstash.flow_control.get("k")
    assert (info.is_paused, info.wait_list_size, destination.requests) == (True, 1, [])
    qstash.flow_control.resume("k")
    destination.first()
    assert not qstash.flow_control.get("k").is_paused


def test_pinned_values_win_over_those_of_messages(qstash, destination):
    qstash.flow_control.pin("k", {"parallelism": 3, "rate": 20, "period": 120})
    control = {"key": "k", "parallelism": 9, "rate": 9, "period": 9}
    qstash.message.publish(url=destination.url(), flow_control=control)
    info = qstash.flow_control.get("k")
    assert (info.parallelism_max, info.rate_max, info.rate_period) == (3, 20, 120)
    assert (info.is_pinned_parallelism, info.is_pinned_rate) == (True, True)
    qstash.flow_control.unpin("k", {"parallelism": True})
    info = qstash.flow_control.get("k")
    assert (info.is_pinned_parallelism, info.is_pinned_rate) == (False, True)
    qstash.message.publish(url=destination.url(), flow_control=control)
    info = qstash.flow_control.get("k")
    assert (info.parallelism_max, info.rate_max) == (9, 20)


def test_global_parallelism_is_two_numbers(qstash):
    info = qstash.flow_control.get_global_parallelism()
    assert info.parallelism_max > info.parallelism_count >= 0
