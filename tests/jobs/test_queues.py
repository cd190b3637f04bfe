"""Publishing: the same three lines to the tutorial, whichever queue stands behind them."""

import json
import threading
import time

import pytest
from django.db import connection, transaction
from django.utils import timezone

from broker.models import Event, Message
from broker.retry import evaluate
from harness.processes import free_port
from jobs.models import ClaimRequest, Job, claim_jobs
from jobs.qstash import (
    BadToken,
    NoRoute,
    PublishError,
    PublishTimeout,
    QStash,
    RateLimited,
    Refused,
    repaired_qstash_url,
)
from jobs.queues import (
    RETRY_DELAYS_MS,
    EmbeddedQueue,
    HostedQueue,
    get_queue,
    queue_is_stuck,
    read_attempts,
    retry_delay_seconds,
)
from tests.jobs.conftest import DROP

SITE = "https://jobs.example.com"


def new_job() -> Job:
    return Job(id="0" * 32, visitor="somebody", target_url="http://target.test/")


@pytest.fixture
def queue(cloud) -> HostedQueue:
    return HostedQueue(QStash(cloud.url, "token-of-the-cloud"))


def test_message_is_published_as_qstash_wants_it(queue, cloud):
    assert queue.publish(new_job(), SITE) == "msg_cloud"
    (asked,) = cloud.asked
    assert asked["line"] == f"POST /v2/publish/{SITE}/api/long-task"
    assert json.loads(asked["body"]) == {"hello": "world", "job_id": "0" * 32}


def test_publish_request_carries_token_and_options(queue, cloud):
    queue.publish(new_job(), SITE)
    headers = dict(cloud.asked[0]["headers"])
    assert headers["Authorization"] == "Bearer token-of-the-cloud"
    assert {name: value for name, value in headers.items() if name.startswith("Upstash")} == {
        "Upstash-Deduplication-Id": f"job-{'0' * 32}",
        "Upstash-Failure-Callback": f"{SITE}/api/job-failed",
        "Upstash-Retries": "3",
        "Upstash-Retry-Delay": RETRY_DELAYS_MS,
        "Upstash-Timeout": "25s",
    }
    assert headers["Content-Type"] == "application/json"


def test_duplicate_is_as_good_as_new(queue, cloud):
    cloud.answer(202, {"messageId": "msg_first", "deduplicated": True})
    assert queue.publish(new_job(), SITE) == "msg_first"


def test_closed_port_is_no_route():
    queue = HostedQueue(QStash(f"http://127.0.0.1:{free_port()}", "token"))
    with pytest.raises(NoRoute, match="cannot be reached. Check QSTASH_URL"):
        queue.publish(new_job(), SITE)


def test_dropped_connection_is_tried_again_under_the_same_deduplication_id(queue, cloud):
    cloud.answers.append(DROP)
    assert queue.publish(new_job(), SITE) == "msg_cloud"
    first, second = (asked["headers"]["Upstash-Deduplication-Id"] for asked in cloud.asked)
    assert first == second


def test_answer_that_breaks_off_is_tried_again(queue, cloud):
    cloud.answer(200, '{"messa', Content_Length="100")
    assert queue.publish(new_job(), SITE) == "msg_cloud"


def test_third_dropped_connection_is_the_last(queue, cloud):
    cloud.usual = DROP
    with pytest.raises(NoRoute):
        queue.publish(new_job(), SITE)
    assert len(cloud.asked) == 3


def test_silence_is_a_timeout_and_not_tried_again(cloud):
    answered = threading.Event()
    cloud.answers.append(lambda: answered.wait(10) and DROP)
    queue = HostedQueue(QStash(cloud.url, "token", timeout=(1, 0.05)))
    with pytest.raises(PublishTimeout, match="did not answer in time"):
        queue.publish(new_job(), SITE)
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
def test_refusal_is_named_and_not_tried_again(queue, cloud, answer, error, words):
    cloud.answers.append(answer)
    with pytest.raises(error, match=words):
        queue.publish(new_job(), SITE)
    assert len(cloud.asked) == 1


@pytest.mark.parametrize("token", ["tok\nen", "tokén-€"])
def test_token_that_no_header_can_hold_is_a_publish_error(cloud, token):
    with pytest.raises(PublishError, match="QSTASH_TOKEN"):
        HostedQueue(QStash(cloud.url, token)).publish(new_job(), SITE)


@pytest.mark.parametrize(
    "url",
    [
        "https://qstash.upstash.io",
        "https://qstash.upstash.io/",
        "https://qstash.upstash.io/v2",
        "https://qstash.upstash.io/v2/",
        "https://qstash.upstash.io/v2/publish",
        "https://qstash.upstash.io/v2/publish/",
        " https://qstash.upstash.io ",
    ],
)
def test_qstash_url_is_repaired(url):
    assert repaired_qstash_url(url) == "https://qstash.upstash.io"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "qstash.upstash.io",
        "ftp://qstash.upstash.io",
        "https://",
        "https://qstash.upstash.io/v2/publish/https://jobs.example.com",
        "https://qstash.upstash.io?token=x",
        "https://[",
        "https://qstash.upstash.io:port",
    ],
)
def test_unusable_qstash_url_is_refused_in_words(url):
    with pytest.raises(PublishError, match="must be the bare address of QStash"):
        repaired_qstash_url(url)


def test_settings_choose_the_queue(settings):
    assert isinstance(get_queue(), EmbeddedQueue)
    settings.QUEUE_BACKEND, settings.QSTASH_TOKEN = "hosted", "token"
    assert isinstance(get_queue(), HostedQueue)
    assert get_queue() is get_queue()


def test_hosted_job_is_saved_and_queued(hosted, transactional_db):
    job = new_job()
    get_queue().send(job, SITE)
    assert Job.objects.get().status == job.status == "queued"
    assert Job.objects.get().message_id == job.message_id == "msg_cloud"


async def test_job_that_cannot_be_sent_is_kept_with_the_reason(hosted, transactional_db):
    hosted.answer(401, {"error": "invalid token"})
    with pytest.raises(BadToken):
        await get_queue().asend(new_job(), SITE)
    job = await Job.objects.aget()
    assert (job.status, job.message_id) == ("not_sent", "")
    assert "Check QSTASH_TOKEN" in job.error


def test_job_may_be_running_before_its_publisher_has_the_answer(hosted, transactional_db):
    job = new_job()

    def deliver_first() -> tuple[int, dict[str, str], str]:
        claim_jobs([ClaimRequest(job.id, "msg_cloud", 1, timezone.now())])
        connection.close()
        return hosted.usual

    hosted.answers.append(deliver_first)
    get_queue().send(job, SITE)
    assert (job.status, job.message_id) == ("running", "msg_cloud")


def test_embedded_queue_stores_job_and_message_together(transactional_db):
    job = new_job()
    EmbeddedQueue().send(job, SITE)
    message, stored = Message.objects.get(), Job.objects.get()
    assert (message.url, json.loads(message.body)["job_id"]) == (f"{SITE}/api/long-task", job.id)
    assert (stored.status, stored.message_id) == ("queued", message.message_id)


def test_embedded_message_carries_the_options(transactional_db):
    EmbeddedQueue().send(new_job(), SITE)
    message = Message.objects.get()
    assert (message.max_retries, message.timeout_seconds) == (3, 25)
    assert message.failure_callback == f"{SITE}/api/job-failed"
    assert message.retry_delay_expression == RETRY_DELAYS_MS


def test_neither_job_nor_message_outlives_a_broken_transaction(transactional_db):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        EmbeddedQueue().send(new_job(), SITE)
        raise ZeroDivisionError
    assert (Job.objects.count(), Message.objects.count()) == (0, 0)


async def test_waiting_publisher_stores_both_too(transactional_db):
    job = new_job()
    await EmbeddedQueue().asend(job, SITE)
    message = await Message.objects.aget()
    assert (await Job.objects.aget()).message_id == message.message_id == job.message_id


def test_job_that_was_saved_earlier_is_sent_under_its_id(transactional_db):
    job = new_job()
    job.save()
    EmbeddedQueue().send(job, SITE)
    assert Job.objects.get().status == "queued"


def test_address_that_no_queue_could_reach_is_refused(transactional_db):
    with pytest.raises(Refused, match="The queue refused the message: invalid destination url"):
        EmbeddedQueue().send(new_job(), "nowhere")
    assert not Job.objects.exists()


@pytest.mark.parametrize(("retried", "seconds"), [(0, 1), (1, 2), (2, 4), (3, 8)])
def test_page_and_queue_mean_the_same_delay(retried, seconds):
    assert retry_delay_seconds(retried) == seconds
    assert evaluate(RETRY_DELAYS_MS, retried=retried) == 1000 * seconds


def test_delay_never_exceeds_a_day():
    assert retry_delay_seconds(9999) == 24 * 3600


def test_attempts_are_read_from_the_log():
    lines = [("CREATED", 0), ("ACTIVE", 1000), ("ERROR", 1500), ("RETRY", 1500), ("ACTIVE", 2500)]
    log = [
        {
            "state": state,
            "time": time,
            "error": "HTTP 500" if state == "ERROR" else "",
            "response_status": 500 if state == "ERROR" else None,
            "next_delivery_time": 2500 if state == "RETRY" else None,
        }
        for state, time in lines
    ]
    first, second = read_attempts(log)
    assert (first.status, first.error, first.seconds) == (500, "HTTP 500", 0.5)
    assert (first.next_at, second.number, second.seconds) == (second.at, 2, None)


async def test_hosted_attempts_are_asked_for_once_in_two_seconds(queue, cloud):
    log = [{"state": "DELIVERED", "time": 1250, "responseStatus": 200}]
    log += [{"state": "ACTIVE", "time": 1000}, {"state": "CREATED", "time": 900}]
    cloud.answer(200, {"events": log})
    (attempt,) = await queue.attempts("msg_asked_once")
    assert (attempt.status, attempt.seconds) == (200, 0.25)
    assert await queue.attempts("msg_asked_once") == [attempt]
    assert [asked["line"] for asked in cloud.asked] == ["GET /v2/events?messageId=msg_asked_once"]


@pytest.mark.parametrize(
    "nonsense",
    ["<html>", "[]", '{"events": 1}', '{"events": [1]}', '{"events": [{}]}',
     '{"events": [{"state": "ACTIVE", "time": "noon"}]}',
     '{"events": [{"state": "ACTIVE", "time": 1e300}]}'],
)  # fmt: skip
async def test_log_that_is_none_is_a_publish_error(queue, cloud, nonsense):
    cloud.answer(200, nonsense)
    with pytest.raises(Refused, match="did not answer with a log"):
        await queue.attempts(f"msg_{len(nonsense)}")


async def test_embedded_attempts_come_from_the_messages_events(transactional_db):
    job = new_job()
    await EmbeddedQueue().asend(job, SITE)
    assert await EmbeddedQueue().attempts(job.message_id) == []
    message = await Message.objects.aget()
    await Event.objects.acreate(message=message, state="ACTIVE", time=1000)
    (attempt,) = await EmbeddedQueue().attempts(job.message_id)
    assert (attempt.number, attempt.seconds) == (1, None)


def test_queue_is_stuck_once_a_message_has_been_due_for_ten_seconds(db, settings):
    EmbeddedQueue().send(new_job(), SITE)
    assert not queue_is_stuck()
    Message.objects.update(due_at=int(time.time() * 1000) - 11_000)
    assert queue_is_stuck()
    settings.QUEUE_BACKEND = "hosted"
    assert not queue_is_stuck()
