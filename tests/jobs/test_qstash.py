"""The client of hosted QStash: what it asks, and what it makes of the answers."""

import threading

import pytest

from harness.processes import free_port
from jobs.exceptions import BadToken, NoRoute, PublishError, PublishTimeout, RateLimited, Refused
from jobs.qstash import QStash, client_for
from tests.jobs.conftest import DROP, Cloud

URL = "https://jobs.example.com/api/long-task"
HEADERS = {"Content-Type": "application/json", "Upstash-Retries": "3"}
MESSAGE = (URL, HEADERS, b'{"job_id": "1"}', None, "job-1-0")


@pytest.fixture
def client(cloud: Cloud) -> QStash:
    return QStash(cloud.url, "token-of-the-cloud")


def lines(cloud: Cloud) -> list[str]:
    """What has been asked for, without headers and bodies."""
    return [asked["line"] for asked in cloud.asked]


def test_message_is_published_as_qstash_wants_it(client, cloud):
    assert client.publish(*MESSAGE) == "msg_cloud"
    (asked,) = cloud.asked
    assert asked["line"] == f"POST /v2/publish/{URL}"
    assert asked["body"] == b'{"job_id": "1"}'


def test_publish_request_has_the_token_and_the_options(client, cloud):
    client.publish(*MESSAGE)
    headers = dict(cloud.asked[0]["headers"])
    assert headers["Authorization"] == "Bearer token-of-the-cloud"
    assert headers["Upstash-Deduplication-Id"] == "job-1-0"
    assert headers.items() >= HEADERS.items()


def test_message_for_a_queue_is_enqueued(client, cloud):
    client.publish(URL, HEADERS, b"{}", "mail", "job-1-0")
    assert lines(cloud) == [f"POST /v2/enqueue/mail/{URL}"]


def test_duplicate_is_as_good_as_new(client, cloud):
    cloud.answer(202, {"messageId": "msg_first", "deduplicated": True})
    assert client.publish(*MESSAGE) == "msg_first"


def test_closed_port_is_no_route():
    client = QStash(f"http://127.0.0.1:{free_port()}", "token")
    with pytest.raises(NoRoute, match="cannot be reached. Check QSTASH_URL"):
        client.publish(*MESSAGE)


def test_dropped_connection_is_tried_again_under_the_same_deduplication_id(client, cloud):
    cloud.answers.append(DROP)
    assert client.publish(*MESSAGE) == "msg_cloud"
    first, second = (asked["headers"]["Upstash-Deduplication-Id"] for asked in cloud.asked)
    assert first == second


def test_answer_that_breaks_off_is_tried_again(client, cloud):
    cloud.answer(200, '{"messa', Content_Length="100")
    assert client.publish(*MESSAGE) == "msg_cloud"


def test_third_dropped_connection_is_the_last(client, cloud):
    cloud.usual = DROP
    with pytest.raises(NoRoute):
        client.publish(*MESSAGE)
    assert len(cloud.asked) == 3


def test_silence_is_a_timeout_and_not_tried_again(cloud):
    answered = threading.Event()
    cloud.answers.append(lambda: answered.wait(10) and DROP)
    client = QStash(cloud.url, "token", timeout=(1, 0.05))
    with pytest.raises(PublishTimeout, match="did not answer in time"):
        client.publish(*MESSAGE)
    answered.set()
    assert len(cloud.asked) == 1


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (
            (401, {}, '{"error": "invalid token"}'),
            BadToken,
            r"does not accept the token \(invalid token\). Check QSTASH_TOKEN",
        ),
        (
            (429, {"RateLimit-Reset": "1700000000"}, ""),
            RateLimited,
            "lifted at 2023-11-14 22:13:20 UTC",
        ),
        (
            (429, {"Burst-RateLimit-Reset": "1700000001"}, ""),
            RateLimited,
            "lifted at 2023-11-14 22:13:21 UTC",
        ),
        ((429, {}, ""), RateLimited, "Try again later"),
        ((429, {"RateLimit-Reset": "²"}, ""), RateLimited, "Try again later"),
        ((429, {"RateLimit-Reset": "9" * 30}, ""), RateLimited, "Try again later"),
        (
            (400, {}, '{"error": "invalid destination url: unable to resolve host"}'),
            Refused,
            "HTTP 400: invalid destination url: unable to resolve host",
        ),
        ((500, {}, "<html>Oops</html>"), Refused, "HTTP 500: <html>Oops"),
        ((500, {}, "[]"), Refused, r"HTTP 500: \[\]"),
        ((302, {"Location": "/elsewhere"}, ""), Refused, "HTTP 302"),
        ((200, {}, "<html>A parked domain</html>"), Refused, "not as QStash does: '<html>A parked"),
        ((200, {}, "{}"), Refused, "not as QStash does"),
        ((200, {}, '["msg_1"]'), Refused, "Check QSTASH_URL"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refusal_is_named_and_not_tried_again(client, cloud, answer, error, words):
    cloud.answers.append(answer)
    with pytest.raises(error, match=words):
        client.publish(*MESSAGE)
    assert len(cloud.asked) == 1


@pytest.mark.parametrize("token", ["tok\nen", "tokén-€"])
def test_token_that_no_header_can_hold_is_a_publish_error(cloud, token):
    with pytest.raises(PublishError, match="QSTASH_TOKEN"):
        QStash(cloud.url, token).publish(*MESSAGE)


def test_error_names_its_cause(client, cloud):
    cloud.usual = DROP
    with pytest.raises(NoRoute) as caught:
        client.publish(*MESSAGE)
    assert "ConnectionError" in repr(caught.value.__cause__)


def test_client_lives_as_long_as_its_settings(cloud):
    assert client_for(cloud.url, "token") is client_for(cloud.url, "token")
    assert client_for(cloud.url, "token") is not client_for(cloud.url, "another")


def test_queue_is_created_once_for_each_parallelism(client, cloud):
    for parallelism in (2, 2, 3, 2):
        client.create_queue("mail", parallelism)
    assert lines(cloud) == ["POST /v2/queues"] * 2
    assert cloud.asked[0]["body"] == b'{"queueName": "mail", "parallelism": 2}'


def test_queue_that_could_not_be_created_is_asked_for_again(client, cloud):
    cloud.answer(500, "on fire")
    with pytest.raises(Refused):
        client.create_queue("mail", 2)
    client.create_queue("mail", 2)
    assert len(cloud.asked) == 2


def test_message_is_cancelled_by_its_id(client, cloud):
    cloud.answer(202, "")
    client.cancel("msg_1")
    assert lines(cloud) == ["DELETE /v2/messages/msg_1"]


def test_message_that_is_gone_cannot_be_cancelled(client, cloud):
    cloud.answer(404, {"error": "message not found"})
    with pytest.raises(Refused, match="message not found"):
        client.cancel("msg_1")


def test_events_are_read_oldest_first(client, cloud):
    log = [
        {"state": "RETRY", "time": 1250, "error": "HTTP 500", "nextDeliveryTime": 2250},
        {"state": "ACTIVE", "time": 1000},
        {"state": "CREATED", "time": 900},
    ]
    cloud.answer(200, {"events": log})
    events = client.events("msg_of_three_events")
    assert [event["state"] for event in events] == ["CREATED", "ACTIVE", "RETRY"]
    assert (events[2]["error"], events[2]["next_delivery_time"]) == ("HTTP 500", 2250)


def test_events_are_asked_for_once_in_two_seconds(client, cloud):
    cloud.usual = (200, {}, '{"events": [{"state": "ACTIVE", "time": 1000}]}')
    assert client.events("msg_asked_once") == client.events("msg_asked_once")
    assert lines(cloud) == ["GET /v2/events?messageId=msg_asked_once"]


@pytest.mark.parametrize(
    "nonsense",
    [
        "<html>",
        "[]",
        '{"events": 1}',
        '{"events": [1]}',
        '{"events": [{}]}',
        '{"events": [{"state": "ACTIVE", "time": "noon"}]}',
        '{"events": [{"state": "ACTIVE", "time": 1e300}]}',
    ],
)
def test_log_that_is_none_is_a_publish_error(client, cloud, nonsense):
    cloud.answer(200, nonsense)
    with pytest.raises(Refused, match="did not answer with a log"):
        client.events(f"msg_{len(nonsense)}")
