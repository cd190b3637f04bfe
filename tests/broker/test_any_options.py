"""Any option of a publisher is accepted or refused; none breaks the queue.

Whatever is accepted also ends: it is delivered, fails and becomes a dead letter, or is cancelled.
"""

import pytest
from asgiref.sync import async_to_sync
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.connections import requested
from broker.delivery import Outcome, headers_for
from broker.dispatcher import Dispatcher
from broker.models import FINAL_STATES, DeadLetter, Message, State
from tests.broker.calls import TOKEN, Clock, ask, exchange
from tests.broker.messages import ERROR, OK

pytestmark = pytest.mark.django_db(transaction=True)

URL = "https://target.test/"
YEAR_MS, WEEK_MS = 365 * 24 * 3600 * 1000, 8 * 24 * 3600 * 1000
MOST_ROUNDS = 500
DESTINATIONS = [URL, "", "name", "\0", "\ud800", "a b", "http://\ud800/", "http://a.test/\0"]
OPTIONS = [
    "Callback", "Content-Based-Deduplication", "Cron", "Deduplication-Id", "Delay",
    "Failure-Callback", "Flow-Control-Key", "Flow-Control-Value", "Forward-X", "Header-Forward",
    "Label", "Method", "Not-Before", "Queue-Name", "Redact-Fields", "Retries", "Retry-Delay",
    "Schedule-Id", "Telemetry-Sdk", "Timeout", "Workflow-RunId",
]  # fmt: skip
NAMES = [
    "Content-Type",
    *(
        f"Upstash-{of}{name}"
        for of in ("", "Callback-", "Failure-Callback-", "Callback-Failure-Callback-")
        for name in OPTIONS
    ),
]
# Each is right for some option, wrong for another, or nearly right.
PIECES = [
    "", " ", "\t", "0", "1", "3", "-1", "1.5", "007", "9999999999999", "٣", "1e9", "s", "30s",
    "1h30m", "1d1d", "5", "ms", "8d", "POST", "get", "BREW", "true", "True", "no", "http://a.test/",
    "https://a.test:99999/", "https://[::1", "ftp://a.test", "//a.test", "name", "a:b", "a/b",
    ",", ";", "=", "parallelism=2", "rate=0", "period=1m", "parallelism=", "rate=1,period=8d",
    "1000*retried", "pow(2,retried)", "1/0", "(((", "sqrt(-1)", "max(1)", "retried", "body",
    "header", "header[X]", "header[", "headers[]", "*****", "CRON_TZ=Europe/Berlin", "CRON_TZ=.",
    "L", "31", "2", "ü", "é", "語", "😀",
]  # fmt: skip
BYTES = st.sampled_from([chr(0xDC00 + byte) for byte in (0x80, 0xC3, 0xFF)])  # not text at all
SENDABLE = st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0")
PIECE = st.sampled_from(PIECES)
VALUE = st.one_of(
    PIECE,
    st.lists(PIECE | BYTES, max_size=4).map("".join),
    st.lists(PIECE, max_size=5).map(" ".join),
    st.text(SENDABLE, max_size=40),
)
QUICK = settings(
    max_examples=120, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def options(value: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from(NAMES), value, max_size=5)


def check(status: int, told: object) -> None:
    assert status in {200, 202} or (400 <= status < 500 and told["error"]), (status, told)


@given(options(VALUE), st.sampled_from(["publish", "enqueue/q", "schedules"]), st.binary())
@QUICK
async def test_any_headers_are_taken_or_refused(headers, way, body):
    known = {"Host": "testserver", "Authorization": f"Bearer {TOKEN}"}
    if way == "schedules":
        known["Upstash-Cron"] = "* * * * *"
    answer = await exchange("POST", f"/v2/{way}/{URL}", known | headers, body)
    check(answer.status, answer.json)


def test_whatever_is_taken_can_be_delivered_and_shown():
    ask_now = async_to_sync(ask)

    @given(st.lists(options(VALUE | st.text()), max_size=3), st.sampled_from(DESTINATIONS))
    @QUICK
    def publish(several, destination):
        items = [{"destination": destination, "headers": headers} for headers in several]
        answer = ask_now("POST", "batch", items)
        assert answer.status == 200
        for told in answer.json:
            check(200 if "messageId" in told else 400, told)

    publish()
    for number, message in enumerate(Message.objects.order_by("id")):
        if number % 7 == 0:
            assert ask_now("DELETE", f"messages/{message.message_id}").status == 202
    assert async_to_sync(let_all_end)() > 0
    failed = Message.objects.filter(state=State.FAILED)
    assert failed.count() == DeadLetter.objects.count() > 0
    assert not failed.filter(events__error__startswith="cannot be settled").exists()
    for path in ("events?count=1000", "dlq", "queues", "flowControl", "schedules"):
        assert ask_now("GET", path).status == 200
    for message in Message.objects.all():
        there = 404 if message.state == State.CANCELED else 200
        assert ask_now("GET", f"messages/{message.message_id}").status == there


async def let_all_end() -> int:
    """Let time pass until every message has ended, callbacks and retries too; how many attempts."""
    clock, attempts = Clock(ahead_ms=2 * YEAR_MS), 0
    for _ in range(MOST_ROUNDS):
        attempts += await Dispatcher(attempt, clock).run_once()
        if not await Message.objects.exclude(state__in=FINAL_STATES).aexists():
            return attempts
        clock.ahead_ms += WEEK_MS  # longer than any period of flow control and any backoff
    states = Message.objects.exclude(state__in=FINAL_STATES).values_list("state", "header", "url")
    raise AssertionError(f"never ended: {[row async for row in states]}")


async def attempt(session: object, message: Message, key: str) -> Outcome:
    """Do all that comes before the POST, and let half of the attempts fail."""
    requested(message.url)
    headers_for(message, key)
    return OK if message.pk % 2 else ERROR
