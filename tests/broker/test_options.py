"""Options: headers become a message's fields, and a wrong one is named."""

import pytest

from broker.options import checked_name, checked_options, read_fields

NOW = 1_800_000_000_000
URL = "https://target.test/a b?c=d#e"


def fields(**headers: str) -> dict:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_fields(URL, checked_options(given), NOW)


def test_message_without_options_is_due_now():
    found = fields()
    assert (found["method"], found["max_retries"], found["not_before"]) == ("POST", 3, NOW)


def test_destination_is_encoded_and_loses_its_fragment():
    assert fields()["url"] == "https://target.test/a%20b?c=d"


def test_options_are_read_whatever_their_case():
    assert fields(UPSTASH_RETRIES="7")["max_retries"] == 7


def test_moment_overrides_the_delay():
    moment = NOW // 1000 + 60
    assert fields(Upstash_Delay="10s")["not_before"] == NOW + 10_000
    both = fields(Upstash_Delay="10s", Upstash_Not_Before=str(moment))
    assert both["not_before"] == 1000 * moment


def test_timeout_can_only_be_shortened(settings):
    settings.BROKER_TIMEOUT_SECONDS = 20
    assert fields(Upstash_Timeout="5s")["timeout_seconds"] == 5
    assert fields(Upstash_Timeout="1h")["timeout_seconds"] == 20


def test_only_forwarded_headers_and_the_content_type_reach_the_destination():
    header = fields(Upstash_Forward_X_A="1", X_B="2", Content_Type="text/plain")["header"]
    assert header == {"X-A": ["1"], "Content-Type": ["text/plain"]}


def test_flow_control_has_a_key_and_limits():
    limits = {"Upstash_Flow_Control_Key": "k", "Upstash_Flow_Control_Value": "parallelism=2"}
    assert "k" in fields(**limits).values()


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("Upstash_Retries", "-1", "Upstash-Retries must be a whole number"),
        ("Upstash_Delay", "soon", "Upstash-Delay"),
        ("Upstash_Delay", "400d", "days from now"),
        ("Upstash_Method", "BREW", "Upstash-Method must be one of"),
        ("Upstash_Retry_Delay", "1 +", "Upstash-Retry-Delay"),
        ("Upstash_Flow_Control_Key", "k", "go together"),
        ("Upstash_Header_Forward", "perhaps", "must be true or false"),
        ("Upstash_Forward_X", "a\nb", "a character that no header may hold"),
        ("Upstash_Callback", "ftp://a.test", "scheme"),
    ],
)
def test_wrong_option_is_named(name, value, named):
    with pytest.raises(ValueError, match=named):
        fields(**{name: value})


@pytest.mark.parametrize("url", ["target.test", "ftp://target.test", "http://", "http://a:0/"])
def test_destination_that_cannot_be_reached_is_refused(url):
    with pytest.raises(ValueError, match="invalid destination url"):
        read_fields(url, {}, NOW)


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 129])
def test_name_that_no_queue_may_have_is_refused(name):
    with pytest.raises(ValueError, match="must be 1 to 128 letters"):
        checked_name(name, "queue")
