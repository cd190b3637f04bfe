"""The curl command makes the same request, and a shell and a terminal can do no harm with it."""

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.curl import LONGEST_BODY, as_curl
from catcher.models import Entry
from harness.sink import Sink

SITE = "https://jobs.example.com"


def command(body: bytes = b"", headers: list | None = None, **fields: str) -> str:
    given = {"method": "POST", "path": "/catcher/b/"} | fields
    return as_curl(Entry(body=body, headers=headers or [], **given), SITE)


def test_command_has_method_url_headers_and_body():
    text = command(b"it's", [["X-A", "1"], ["X-Empty", ""], ["Host", "h"], ["Content-Length", "4"]])
    assert shlex.split(text) == [
        "curl", "--globoff", "-X", "POST", f"{SITE}/catcher/b/",
        "-H", "X-A: 1", "-H", "X-Empty;", "--data-raw", "it's",
    ]  # fmt: skip


def test_command_sends_the_request_again():
    with Sink() as sink:
        entry = Entry(
            method="PUT", path="/p?q=[1-3]", headers=[["X-A", "$(id)"]], body=b"@/etc/passwd"
        )
        subprocess.run(["sh", "-c", as_curl(entry, sink.url)], check=True, capture_output=True)
        (request,) = sink.requests
    assert request["headers"]["X-A"] == "$(id)"
    assert request["body"] in (b"@/etc/passwd", "@/etc/passwd")


@pytest.mark.parametrize("body", [b"\xff\0", b"x" * (LONGEST_BODY + 1), b"\x1b]0;owned\x07"])
def test_body_that_no_terminal_takes_comes_from_a_file(body):
    assert command(body).endswith("--data-binary @body")


def test_head_is_asked_for_as_curl_wants_it():
    assert "--head" in command(method="HEAD")


@given(
    st.text(),
    st.text(min_size=1),
    st.lists(st.tuples(st.text(), st.text()), max_size=4),
    st.binary(),
)
def test_no_request_breaks_out_of_its_words(method, path, headers, body):
    words = shlex.split(command(body, headers, method=method, path=path))
    assert words[0] == "curl"
    options = {"curl", "--globoff", "-X", "-H", "--head", "--data-raw", "--data-binary"}
    assert {word for word in words[::1] if word in options} <= options
    assert not set("\x1b\x07\x9b\u202e") & set(command(body, headers, method=method, path=path))
