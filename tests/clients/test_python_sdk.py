"""The Python SDK, sync and async, publishes messages; the tests look at what is delivered.

Each test has an account of its own on one real server, so it may count what it finds. Calls
that configure are in test_python_sdk_resources.py, those that find and remove in
test_python_sdk_lists.py.
"""

import base64
import hashlib
import json
import time

import pytest
from qstash.chat import custom
from qstash.errors import QStashError, SignatureError
from qstash.log import LogState

from harness.processes import free_port
from tests.clients.logs import dead_letter, states, until


def test_message_arrives_as_it_was_published(qstash, destination):
    published = qstash.message.publish(
        url=destination.url(),
        body=b"\x00\xff\r\n raw",
        content_type="application/octet-stream",
        method="PUT",
        headers={"X-Color": "blue", "Upstash-Forward-X-Form": "round"},
    )
    request = destination.first()
    assert (request.method, request.body) == ("PUT", b"\x00\xff\r\n raw")
    assert request.headers["Content-Type"] == "application/octet-stream"
    assert (request.headers["X-Color"], request.headers["X-Form"]) == ("blue", "round")
    assert request.headers["Upstash-Message-Id"] == published.message_id
    assert not published.deduplicated


def test_destination_sees_qstashs_headers_and_nothing_of_the_publisher(qstash, destination):
    qstash.message.publish(url=destination.url(), body="hello", label="a", timeout=90)
    request = destination.first()
    assert request.headers["User-Agent"] == "Upstash-QStash"
    assert request.headers["Upstash-Retried"] == "0"
    assert request.headers["Upstash-Caller-Ip"] == "127.0.0.1"
    assert {name for name in request.names if name.startswith("upstash-")} <= {
        "upstash-caller-ip", "upstash-message-id", "upstash-region", "upstash-retried",
        "upstash-signature",
    }  # fmt: skip
    assert not {"authorization", "content-type", "x-forwarded-for"} & set(request.names)


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_every_method_delivers_the_body_and_a_signature(qstash, account, destination, method):
    url = destination.url("/hook")
    qstash.message.publish_json(url=url, body={"n": 1}, method=method)
    request = destination.first("/hook")
    assert (request.method, request.body) == (method, b'{"n": 1}')
    assert request.headers["Content-Type"] == "application/json"
    account.accepts(request, url)


def test_destination_gets_its_own_authorization_but_one_content_type(qstash, destination):
    qstash.message.publish_json(
        url=destination.url(),
        body=1,
        headers={"Authorization": "Bearer its own", "content-type": "text/x"},
    )
    headers = destination.first().headers
    assert headers["Authorization"] == "Bearer its own"
    assert headers.get_all("Content-Type") == ["application/json"]


def test_provider_of_a_language_model_is_an_ordinary_url(qstash, destination):
    provider = custom(destination.url("/llm"), "its-token")
    qstash.message.publish_json(api={"name": "llm", "provider": provider}, body={"n": 1})
    request = destination.first("/llm/v1/chat/completions")
    assert request.headers["Authorization"] == "Bearer its-token"


def test_receiver_refuses_another_url_and_another_body(qstash, account, destination):
    qstash.message.publish_json(url=destination.url("/hook"), body="one")
    request = destination.first("/hook")
    account.accepts(request, destination.url("/hook"))
    with pytest.raises(SignatureError):
        account.accepts(request, destination.url("/another"))
    with pytest.raises(SignatureError):
        account.accepts(request._replace(body=b"two"), destination.url("/hook"))


def test_url_arrives_byte_for_byte(qstash, account, destination):
    path = "/a%2Fb//c;d/%C3%A9?x=1&y=%2F%20&x=2&http://e.test/"
    qstash.message.publish(url=destination.url(path))
    request = destination.first(path)
    assert request.body == b""
    account.accepts(request, destination.url(path))


def test_url_is_encoded_where_it_must_be_and_loses_its_fragment(qstash, account, destination):
    qstash.message.publish(url=destination.url("/x?b=1&c=%2F é#frag"))
    request = destination.first("/x?b=1&c=%2F%20%C3%A9")
    account.accepts(request, destination.url("/x?b=1&c=%2F%20%C3%A9"))


def test_message_can_be_read_with_its_options(qstash, destination):
    published = qstash.message.publish_json(
        url=destination.url(),
        body={"n": 1},
        method="PATCH",
        headers={"test-header": "one"},
        delay="1h",
        retries=5,
        retry_delay="1000 * (1 + retried)",
        callback="https://callback.test/",
        callback_headers={"Forward-x-a": "1"},
        failure_callback="https://failure.test/",
        failure_callback_headers={"Forward-x-b": "2"},
        timeout=30,
        label="blue",
        flow_control={"key": "k", "parallelism": 3, "rate": 4, "period": "1h30m3s"},
    )
    message = qstash.message.get(published.message_id)
    assert (message.url, message.method, message.body) == (destination.url(), "PATCH", '{"n": 1}')
    assert message.headers == {"Content-Type": ["application/json"], "Test-Header": ["one"]}
    assert message.callback_headers == {"X-A": ["1"]}
    assert message.failure_callback_headers == {"X-B": ["2"]}
    assert message.callback == "https://callback.test/"
    assert message.failure_callback == "https://failure.test/"
    assert message.not_before - message.created_at == 3_600_000
    assert (message.max_retries, message.label) == (5, "blue")
    assert message.retry_delay_expression == "1000 * (1 + retried)"
    control = message.flow_control
    assert (control.key, control.parallelism, control.rate, control.period) == ("k", 3, 4, 5403)


def test_message_without_options_has_none(qstash, destination):
    published = qstash.message.publish(url=destination.url())
    message = qstash.message.get(published.message_id)
    assert (message.max_retries, message.caller_ip) == (3, "127.0.0.1")
    absent = [
        message.body, message.body_base64, message.callback, message.failure_callback,
        message.flow_control, message.label, message.queue, message.url_group, message.endpoint,
        message.schedule_id, message.retry_delay_expression,
    ]  # fmt: skip
    assert absent == [None] * len(absent)


def test_body_that_is_not_text_is_read_in_base64(qstash, destination):
    published = qstash.message.publish(url=destination.url(), body=b"\xff\x00", delay=60)
    message = qstash.message.get(published.message_id)
    assert message.body is None
    assert base64.b64decode(message.body_base64) == b"\xff\x00"


def test_message_waits_until_its_time(qstash, destination):
    moment = int(time.time()) + 3600
    published = qstash.message.publish(url=destination.url(), not_before=moment, delay=5)
    assert qstash.message.get(published.message_id).not_before == moment * 1000
    line = until(qstash, published.message_id, LogState.CREATED)
    assert line.next_delivery_time == moment * 1000


@pytest.mark.parametrize("qstash", ["sync"], indirect=True)  # it waits for a second
def test_delayed_message_arrives_later(qstash, destination):
    before = time.time()
    qstash.message.publish(url=destination.url(), delay=1)
    destination.first()
    assert time.time() - before >= 1


def test_log_lists_the_states_of_a_message(qstash, destination):
    published = qstash.message.publish(
        url=destination.url(), body="hi", label="blue", retry_delay="10 * retried"
    )
    delivered = until(qstash, published.message_id, LogState.DELIVERED)
    assert states(qstash, published.message_id) == [
        LogState.CREATED, LogState.ACTIVE, LogState.DELIVERED
    ]  # fmt: skip
    assert (delivered.label, delivered.retry_delay_expression) == ("blue", "10 * retried")
    assert (delivered.url, delivered.method) == (destination.url(), "POST")
    assert base64.b64decode(delivered.body_base64) == b"hi"


def test_failed_attempt_is_repeated_under_the_same_id(qstash, account, destination):
    url = destination.url("/flaky/2")
    published = qstash.message.publish(url=url, body="again", retries=3, retry_delay="20 * retried")
    until(qstash, published.message_id, LogState.DELIVERED)
    attempts = destination.at("/flaky/2")
    assert [request.headers["Upstash-Retried"] for request in attempts] == ["0", "1", "2"]
    assert {request.headers["Upstash-Message-Id"] for request in attempts} == {published.message_id}
    assert len({request.headers["Upstash-Signature"] for request in attempts}) == 3
    account.accepts(attempts[2], url)


def test_error_in_the_log_holds_the_response(qstash, destination):
    published = qstash.message.publish(url=destination.url("/flaky/1"), retry_delay="1")
    error = until(qstash, published.message_id, LogState.ERROR)
    assert error.response_status == 503
    assert base64.b64decode(error.response_body) == b"503 Service Unavailable"
    assert error.response_headers["Content-Type"] == ["text/plain"]
    assert until(qstash, published.message_id, LogState.RETRY).next_delivery_time


def test_489_is_not_repeated(qstash, destination):
    published = qstash.message.publish(url=destination.url("/status/489"), retries=3)
    assert dead_letter(qstash, published.message_id).response_status == 489
    assert len(destination.requests) == 1
    assert states(qstash, published.message_id)[-2:] == [LogState.ERROR, LogState.FAILED]


def test_destination_that_cannot_be_reached_leaves_no_response(qstash):
    url = f"http://127.0.0.1:{free_port()}/"
    published = qstash.message.publish(url=url, retries=0)
    letter = dead_letter(qstash, published.message_id)
    assert (letter.response_status, letter.response_body) == (0, None)
    assert until(qstash, published.message_id, LogState.ERROR).error


@pytest.mark.parametrize("qstash", ["sync"], indirect=True)  # it waits for a second
def test_attempt_ends_at_its_timeout(qstash, destination):
    published = qstash.message.publish(url=destination.url("/held"), timeout=1, retries=0)
    assert dead_letter(qstash, published.message_id).response_status == 0
    error = until(qstash, published.message_id, LogState.ERROR)
    assert error.response_status is None


def test_callback_is_a_signed_message_about_the_attempt(qstash, account, destination):
    callback = destination.url("/callback")
    published = qstash.message.publish(
        url=destination.url("/work"),
        body="task",
        headers={"X-A": "1"},
        callback=callback,
        callback_headers={"Forward-X-B": "2", "Method": "PUT"},
    )
    request = destination.first("/callback")
    account.accepts(request, callback)
    assert (request.method, request.headers["X-B"]) == ("PUT", "2")
    assert request.headers["Content-Type"] == "application/json"
    report = json.loads(request.body)
    assert (report["status"], report["url"]) == (200, destination.url("/work"))
    assert report["sourceMessageId"] == published.message_id
    assert base64.b64decode(report["body"]) == b"200 OK"
    assert base64.b64decode(report["sourceBody"]) == b"task"
    assert report["sourceHeader"]["X-A"] == ["1"]
    assert (report["retried"], report["maxRetries"]) == (0, 3)


def test_failure_callback_names_the_dead_letter(qstash, account, destination):
    failure = destination.url("/failure")
    published = qstash.message.publish(
        url=destination.url("/status/404"), retries=0, failure_callback=failure
    )
    request = destination.first("/failure")
    account.accepts(request, failure)
    report = json.loads(request.body)
    assert (report["status"], report["sourceMessageId"]) == (404, published.message_id)
    assert report["dlqId"] == dead_letter(qstash, published.message_id).dlq_id


@pytest.mark.parametrize(
    "same", [{"deduplication_id": "one"}, {"content_based_deduplication": True}]
)
def test_duplicate_is_answered_with_the_first_message(qstash, destination, same):
    url = destination.url()
    first = qstash.message.publish(url=url, body="x", **same)
    again = qstash.message.publish(url=url, body="x", **same)
    assert (again.message_id, again.deduplicated) == (first.message_id, True)
    until(qstash, first.message_id, LogState.DELIVERED)
    assert len(destination.requests) == 1


def test_redacted_fields_are_delivered_but_not_shown(qstash, destination):
    published = qstash.message.publish(
        url=destination.url(),
        body="secret",
        headers={"X-Key": "hidden", "X-Open": "seen"},
        redact={"body": True, "header": ["X-Key"]},
    )
    request = destination.first()
    assert (request.body, request.headers["X-Key"]) == (b"secret", "hidden")
    message = qstash.message.get(published.message_id)
    assert message.body == f"REDACTED:{hashlib.sha256(b'secret').hexdigest()}"
    assert message.headers["X-Key"] == [f"REDACTED:{hashlib.sha256(b'hidden').hexdigest()}"]
    assert message.headers["X-Open"] == ["seen"]
    (line, *_) = qstash.log.list(filter={"message_id": published.message_id}).logs
    assert "hidden" not in str(line.headers)
    assert line.body_base64 not in {"secret", base64.b64encode(b"secret").decode()}


def test_bad_options_are_refused_with_a_reason(qstash, destination):
    with pytest.raises(QStashError, match="400.*DeduplicationId cannot contain ':'"):
        qstash.message.publish(url=destination.url(), deduplication_id="a:b")
    with pytest.raises(QStashError, match="400.*invalid scheme"):
        qstash.message.publish(url_group="no-such-group")
    with pytest.raises(QStashError, match="404"):
        qstash.message.get("msg_unknown")
