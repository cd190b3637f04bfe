"""Secrets are masked wherever a text may hold them, and what is none stays readable."""

import base64
import json
import time

import pytest

from console.masking import MASK, is_secret, masked, masked_headers, masked_url

SECRET = "s3cr3t-value-0123456789"


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "authorization", "Upstash-Forward-Authorization", "Proxy-Authorization",
        "Cookie", "Set-Cookie", "X-Api-Key", "api_key", "apiKey", "access_token", "password",
        "client_secret", "Upstash-Signature", "X-Auth-Key", "QSTASH_CURRENT_SIGNING_KEY",
    ],
)  # fmt: skip
def test_name_of_a_secret_is_known(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["Content-Type", "X-A", "token_count", "max_tokens", "key"])
def test_other_name_is_no_secret(name):
    assert not is_secret(name)


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f"GET / HTTP/1.1\nCookie: a={SECRET}; b={SECRET}\n",
        f"sent with Bearer {SECRET} to",
        f"Basic {base64.b64encode(SECRET.encode()).decode()} {MASK}",
        json.dumps({"headers": {"Authorization": f"{SECRET}"}}),
        json.dumps({"headers": {"authorization": [f"a ] {SECRET}", SECRET]}}),
        json.dumps({"sourceHeader": {"Cookie": [SECRET]}}, indent=2),
        json.dumps({"a": json.dumps({"password": SECRET})}),
        json.dumps({"token": 1234567890}).replace("1234567890", SECRET),
        '{"\\u0041uthorization": "' + SECRET + '"}',
        '{"Authorization": "' + SECRET,
        '{"Authorization": ["' + SECRET,
        f"grant=x&client_secret={SECRET}&a=1",
        f"https://user:{SECRET}@host.test/path",
        f"https://host.test/?qstash_token={SECRET}",
        json.dumps({"body": base64.b64encode(f"password={SECRET}".encode()).decode()}),
        f"eyJhbGciOiJIUzI1NiJ9.eyJ{SECRET.replace('-', '')}.abc-def",
    ],
)
def test_secret_in_a_text_is_masked(text):
    found = masked(text)
    assert SECRET not in found
    assert SECRET.replace("-", "") not in found
    assert base64.b64encode(SECRET.encode()).decode() not in found
    assert base64.b64encode(f"password={SECRET}".encode()).decode() not in found
    assert MASK in found


@pytest.mark.parametrize(
    "text",
    [
        '{"hello": "world", "n": [1, 2], "body": "aGVsbG8="}',
        "a=1&b=2",
        "https://host.test/a?b=c#d",
        "HTTP 500",
        "Basic is a language",
    ],
)
def test_text_without_a_secret_stays_as_it_is(text):
    assert masked(text) == text


def test_site_s_own_tokens_and_keys_are_masked_wherever_they_stand(settings):
    settings.CONSOLE_PASSWORD = "open sesame"
    settings.BROKER_ACCOUNTS = settings.BROKER_ACCOUNTS | {
        "other": {"token": "token of another", "current": "current-of-it", "next": "next-of-it"}
    }
    text = (
        f"x{settings.BROKER_TOKEN}x {settings.QSTASH_CURRENT_SIGNING_KEY} {settings.SECRET_KEY}"
        " open%20sesame next-of-it token of another"
    )
    assert masked(text) == f"x{MASK}x {MASK} {MASK} {MASK} {MASK} {MASK}"


def test_masked_json_is_still_json():
    text = json.dumps({"token": 'a"b', "list": [{"Cookie": ["x", "y"]}], "password": 5, "n": 1})
    assert json.loads(masked(text)) == {
        "token": MASK,
        "list": [{"Cookie": MASK}],
        "password": MASK,
        "n": 1,
    }


def test_headers_are_pairs_and_secret_ones_are_masked():
    header = {"Authorization": ["Bearer x"], "X-A": ["1", f"Bearer {SECRET}"]}
    assert masked_headers(header) == [
        ("Authorization", MASK),
        ("X-A", "1"),
        ("X-A", f"Bearer {MASK}"),
    ]


def test_url_keeps_everything_but_its_secrets():
    url = "https://me:word@host.test/a%20b?x=1&api_key=abc&y=2#z"
    assert masked_url(url) == f"https://{MASK}@host.test/a%20b?x=1&api_key={MASK}&y=2#z"


@pytest.mark.parametrize(
    "text",
    [
        '"' * 200_000, "\\" * 200_000, '"token":[' + '"a",' * 50_000, "a=" * 100_000,
        "a" * 200_000, "https://" * 25_000, "token:" * 30_000, '{"token": ' * 20_000,
        "eyJ." * 50_000, "a: " * 60_000, '\\"token\\": ' * 20_000, "\n" * 200_000,
        "bearer " * 30_000, "%" * 200_000, " " * 200_000, '"a\\' * 60_000, "sig_" * 50_000,
    ],
    ids=range(17),
)  # fmt: skip
def test_masking_takes_time_in_proportion_to_the_text(text):
    def seconds(piece: str) -> float:
        began = time.process_time()
        masked(piece)
        return time.process_time() - began

    # A quadratic search of so much text would take minutes.
    assert seconds(text) < 5
