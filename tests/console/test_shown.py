"""What templates get is masked, bounded and of visible characters."""

import json

import pytest

from console.interface import Detail
from console.masking import MASK
from console.shown import body_of, line, shown_body, shown_detail, whole

SECRET = "s3cr3t-0123456789"


def test_line_is_one_line_cut_and_visible():
    assert line("a\nb\tc\0‮") == "a␊b c␀[U+202E]"
    assert line("x" * 1000, 10) == "xxxxxxxxxx…"
    assert SECRET not in line(f"Bearer {SECRET}")


def test_json_body_is_indented_and_masked():
    body = shown_body(json.dumps({"Authorization": SECRET, "a": 1}).encode())
    assert body.text == f'{{\n  "Authorization": "{MASK}",\n  "a": 1\n}}'
    assert (body.kind, body.truncated) == ("json", False)


def test_binary_body_is_dumped_unless_it_holds_a_secret():
    assert "3 bytes of binary data" in shown_body(b"\xff\0\xfe").text
    secret = shown_body(b"\xff\0Authorization: Bearer " + SECRET.encode())
    assert SECRET not in secret.text and "with a secret" in secret.text


def test_long_body_is_cut():
    body = shown_body(b"x" * 1_000_000)
    assert len(body.text) == 65_536 and body.truncated


@pytest.mark.parametrize(
    "fields, body",
    [
        ({"body": "hé"}, "hé".encode()),
        ({"bodyBase64": "/w=="}, b"\xff"),
        ({"bodyBase64": "nonsense!"}, b"\x9e\x89\xec\xb2'\xac"),
        ({}, b""),
    ],
)
def test_body_is_read_as_the_api_gives_it(fields, body):
    assert body_of(fields, "body")[:2] == body[:2]


def test_what_cannot_be_guessed_is_said_in_words():
    message = {"retryDelayExpression": "1000 * pow(2, retried)", "maxRetries": 3}
    found = shown_detail("msg_1", Detail(message, "CREATED", [], claims={"nbf": 0, "iat": 0}))
    delays = "1000 * pow(2, retried) (waits 1 s, then 2 s, then 4 s)"
    assert ("Retry delay", delays) in found.facts
    assert found.claims == [("nbf", "0 (valid from any time)"), ("iat", "0")]


@pytest.mark.parametrize("expression", ["nonsense(", "(" * 600, "1/0"])
def test_retry_delay_that_cannot_be_read_breaks_nothing(expression):
    message = {"retryDelayExpression": expression, "maxRetries": 10**9}
    (fact,) = [
        v for n, v in shown_detail("m", Detail(message, "CREATED", [])).facts if "delay" in n
    ]
    assert fact.startswith(expression[:20])


@pytest.mark.parametrize("error, shown", [("HTTP 489", ""), ("cut off", "cut off")])
def test_status_is_said_once(error, shown):
    log = [{"state": "ERROR", "time": 1, "responseStatus": 489, "error": error}]
    response = shown_detail("msg_1", Detail({}, "FAILED", log)).response
    assert (response["status"], response["error"]) == (489, shown)


@pytest.mark.parametrize("value", ["1", None, True, 1.5, [1]])
def test_only_a_whole_number_is_one(value):
    assert whole(value) == 0


def test_message_of_which_only_the_log_is_left_is_shown():
    log = [{"state": "CREATED", "time": 1}, {"state": "CANCELED", "time": 2}]
    found = shown_detail("msg_1", Detail(None, "CANCELED", log))
    assert (found.state, found.over, found.response, found.claims) == (
        "cancelled",
        True,
        None,
        None,
    )


def test_answer_from_a_strange_queue_breaks_nothing():
    strange = {"url": 5, "header": ["x"], "labels": 7 and [None], "notBefore": "x", "body": 3}
    found = shown_detail("msg_1", Detail(strange, "NEW", []))
    assert found.state == "queued" and found.bars == []
