"""Reading a publisher's request, and storing its message once."""

import pytest
from django.db import transaction

from broker import wakeup
from broker.clock import now_ms
from broker.errors import Rejected
from broker.models import Event, Message
from broker.publishing import publish, read_message, store
from tests.broker.messages import NOW, new_message, states

WINDOW_MS = 600_000
URL = "https://target.test/hook"


def read(url: str = URL, body: bytes = b"", **headers: str) -> Message:
    """Read a message; `upstash_retries` stands for the header `Upstash-Retries`."""
    return read_message(url, {k.replace("_", "-").title(): v for k, v in headers.items()}, body)


def test_without_options_the_documented_defaults_hold():
    message = read(body=b"\x00\xff")
    assert (message.method, message.max_retries, message.body) == ("POST", 3, b"\x00\xff")
    assert (message.timeout_seconds, message.header, message.label_list) == (None, {}, [])
    assert message.due_at == message.not_before == message.created_at


def test_options_are_read():
    message = read(
        upstash_method="put",
        upstash_retries="5",
        upstash_timeout="1m30s",
        upstash_retry_delay="1000 * retried",
        upstash_label="a,b",
        upstash_deduplication_id="once",
    )
    assert (message.method, message.max_retries, message.timeout_seconds) == ("PUT", 5, 90)
    assert message.retry_delay_expression == "1000 * retried"
    assert (message.label_list, message.deduplication_key) == (["a", "b"], "once")


def test_names_of_options_may_be_written_in_any_case():
    assert read_message(URL, {"UPSTASH-retries": " 7 "}, b"").max_retries == 7


@pytest.mark.parametrize(
    ("option", "value", "text"),
    [
        ("upstash_retries", "-1", "Upstash-Retries must be a whole number"),
        ("upstash_retries", "three", "Upstash-Retries"),
        ("upstash_retries", "²", "Upstash-Retries"),
        ("upstash_retries", "99999999999", "Upstash-Retries"),
        ("upstash_delay", "soon", "Upstash-Delay: 'soon' is not a duration"),
        ("upstash_delay", "999999999999d", "Upstash-Delay: '999999999999d' is too long"),
        ("upstash_delay", "366d", "Upstash-Delay is more than 365 days from now"),
        ("upstash_not_before", "tomorrow", "Upstash-Not-Before must be"),
        ("upstash_not_before", "9" * 13, "Upstash-Not-Before"),
        ("upstash_timeout", "1x", "Upstash-Timeout: '1x' is not a duration"),
        ("upstash_method", "TRACE", "Upstash-Method must be one of GET, POST"),
        ("upstash_retry_delay", "1 +", "Upstash-Retry-Delay ends too early"),
        ("upstash_retry_delay", "os.exit", "Upstash-Retry-Delay"),
        ("upstash_deduplication_id", "a:b", "DeduplicationId cannot contain ':'"),
        ("upstash_deduplication_id", "x" * 256, "Upstash-Deduplication-Id is longer than 255"),
        ("upstash_label", "a\x00", "Upstash-Label holds a character"),
        ("upstash_forward_x", "a\r\nX-Injected: b", "Upstash-Forward-X holds a character"),
        ("upstash_forward_x y", "a", "'upstash-forward-x y' is not the name"),
        ("upstash_forward_", "a", "'upstash-forward-' is not the name"),
        ("upstash_redact_fields", "everything", "Upstash-Redact-Fields knows body, header"),
        ("upstash_flow_control_key", "k", "Upstash-Flow-Control-Key and .* go together"),
        ("upstash_flow_control_value", "rate=1", "Upstash-Flow-Control-Key and .* go together"),
        ("upstash_content_based_deduplication", "yes", "Upstash-Content-Based-Deduplication must"),
        ("upstash_header_forward", "1", "Upstash-Header-Forward must be true or false"),
        ("upstash_failure_callback", "x", "Upstash-Failure-Callback: invalid destination url"),
    ],
)  # fmt: skip
def test_wrong_option_is_refused_by_its_name(option, value, text):
    with pytest.raises(Rejected, match=f"^{text}"):
        read(**{option: value})


def test_wrong_option_of_the_failure_callback_is_refused_at_once():
    with pytest.raises(Rejected, match="^Upstash-Failure-Callback: Upstash-Retries must be"):
        read(upstash_failure_callback=URL, upstash_failure_callback_retries="many")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("target.test/hook", "endpoint has invalid scheme, add http:// or https://"),
        ("ftp://target.test", "endpoint has invalid scheme, add http:// or https://"),
        ("", "endpoint has invalid scheme"),
        ("http://", "endpoint has no host"),
        ("https:///hook", "endpoint has no host"),
        ("http://target.test:99999/", "Port out of range"),
        ("http://[::1/", "Invalid IPv6 URL"),
    ],
)
def test_destination_that_is_not_a_url_is_refused(url, text):
    with pytest.raises(Rejected, match=f"^invalid destination url: {text}"):
        read(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/hook",
        "http://user:pass@[::1]:80/a//b/../c?x=%2F&y=a+b&z=[1]",
        "https://target.test/%C3%A9;v=1,2/~me/$&'()*!@:=?q=%20",
    ],
)
def test_characters_of_a_url_are_left_alone(url):
    assert read(url).url == url


def test_what_a_url_cannot_hold_is_encoded():
    assert read("http://target.test/a b/é?q=ü").url == "http://target.test/a%20b/%C3%A9?q=%C3%BC"


def test_forwarded_headers_get_their_canonical_names():
    message = read_message(URL, {"upstash-forward-x-RUNID": "1", "Content-Type": "a/b"}, b"")
    assert message.header == {"X-Runid": ["1"], "Content-Type": ["a/b"]}


@pytest.mark.parametrize(
    "name",
    [
        "Host", "Content-Length", "Connection", "Transfer-Encoding", "User-Agent", "Content-Type",
        "Upstash-Signature", "Upstash-Message-Id", "Upstash-Retried", "Upstash-Caller-Ip",
        "Upstash-Region",
    ],
)  # fmt: skip
def test_reserved_headers_are_not_forwarded(name):
    assert read_message(URL, {f"Upstash-Forward-{name}": "forged"}, b"").header == {}


def test_headers_that_are_not_options_are_not_forwarded():
    assert read(authorization="Bearer token", cookie="a=b", upstash_telemetry_sdk="x").header == {}


def test_delayed_message_is_due_later():
    message = read(upstash_delay="1m")
    assert message.due_at == message.not_before == message.created_at + 60_000


def test_not_before_overrides_the_delay():
    at = now_ms() // 1000 + 3600
    assert read(upstash_delay="1m", upstash_not_before=str(at)).due_at == at * 1000


def test_not_before_in_the_past_is_now():
    message = read(upstash_not_before="1")
    assert message.due_at == message.created_at


def test_stored_message_has_the_first_line_of_its_log(db):
    message = new_message()
    receipt = publish(message)
    assert (receipt.message_id, receipt.deduplicated) == (message.message_id, False)
    assert states(message) == ["CREATED"]
    assert Event.objects.get().next_delivery_time is None


def test_delayed_message_says_so_in_its_log(db):
    publish(new_message(not_before=NOW + 5, due_at=NOW + 5))
    assert Event.objects.get().next_delivery_time == NOW + 5


def test_message_is_stored_as_it_was_read(db):
    message = read(body=b"\x00\xff", upstash_forward_x="ü", upstash_label="a")
    publish(message)
    stored = Message.objects.get(pk=message.pk)
    assert (bytes(stored.body), stored.header) == (b"\x00\xff", {"X": ["ü"]})
    assert (stored.state, stored.label_list, stored.retried) == ("CREATED", ["a"], 0)


def test_message_shares_the_fate_of_its_transaction(db):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        publish(new_message())
        1 / 0  # noqa: B018
    assert not Message.objects.exists()


def test_second_message_with_a_deduplication_key_is_the_first(db):
    first, second = new_message(deduplication_key="k"), new_message(deduplication_key="k")
    publish(first)
    assert publish(second)[::2] == (first.message_id, True)
    assert Message.objects.count() == Event.objects.count() == 1


def test_duplicates_stored_together_are_one(db):
    messages = [new_message(deduplication_key="k") for _ in range(3)] + [new_message()]
    receipts = store(messages)
    assert [receipt.deduplicated for receipt in receipts] == [False, True, True, False]
    assert {receipt.message_id for receipt in receipts[:3]} == {messages[0].message_id}


@pytest.mark.parametrize(("age", "deduplicated"), [(WINDOW_MS - 1, True), (WINDOW_MS, False)])
def test_deduplication_key_is_free_after_its_window(db, age, deduplicated):
    publish(new_message(deduplication_key="k"))
    later = new_message(deduplication_key="k", created_at=NOW + age)
    assert publish(later).deduplicated is deduplicated


def test_window_begins_anew_with_the_message_after_it(db):
    for age in (0, WINDOW_MS):
        publish(new_message(deduplication_key="k", created_at=NOW + age))
    later = new_message(deduplication_key="k", created_at=NOW + WINDOW_MS + 1)
    assert publish(later).deduplicated


def test_messages_without_a_deduplication_key_are_all_stored(db):
    publish(new_message())
    assert not publish(new_message()).deduplicated


def test_accounts_do_not_share_deduplication_keys(db):
    publish(new_message(deduplication_key="k"))
    assert not publish(new_message(deduplication_key="k", account="other")).deduplicated


def test_dispatchers_are_woken_once_the_message_is_there(transactional_db):
    seen: list[int] = []

    def listener() -> wakeup.Callback:
        return lambda: seen.append(Message.objects.count())

    wakeup.listen(listener)
    publish(new_message())
    wakeup.unlisten(listener)
    assert seen == [1]


def test_messages_of_the_same_options_share_nothing():
    headers = {"Upstash-Forward-X": "1", "Upstash-Redact-Fields": "body"}
    first, second = (read_message(URL, headers, b"") for _ in range(2))
    first.header["X"] = ["2"]
    first.redacted.append("header")
    assert (second.header["X"], second.redacted) == (["1"], ["body"])
    assert first.message_id != second.message_id


def test_delay_counts_from_each_publish(monkeypatch):
    moments = iter([1_000, 1_000, 5_000])
    monkeypatch.setattr("broker.publishing.now_ms", lambda: next(moments))
    headers = {"Upstash-Delay": "60s", "Upstash-Label": "of-this-test"}
    due = [read_message(URL, headers, b"").due_at for _ in range(2)]
    assert due == [61_000, 65_000]


def test_settings_of_the_moment_limit_the_same_options(settings):
    headers = {"Upstash-Retries": "7"}
    assert read_message(URL, headers, b"").max_retries == 7
    settings.BROKER_RETRIES = 5
    with pytest.raises(Rejected):
        read_message(URL, headers, b"")
