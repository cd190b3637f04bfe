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


def words_of(text: str) -> list[str]:
    """A command's words, as a shell reads them; shlex takes a joined line for a word."""
    return shlex.split(text.replace(" \\\n  ", " "))


def test_command_has_method_url_headers_and_body():
    headers = [["X-A", "1"], ["X-Empty", ""], ["Host", "h"], ["Content-Length", "4"]]
    assert words_of(command(b"it's", headers)) == [
        "curl", "--globoff", "-X", "POST", f"{SITE}/catcher/b/",
        "-H", "X-A: 1", "-H", "X-Empty;", "--data-raw", "it's",
    ]  # fmt: skip


def test_command_sends_the_request_again():
    with Sink() as sink:
        headers = [["X-A", "$(id)"]]
        entry = Entry(method="POST", path="p?q=[1-3]", headers=headers, body=b"@/etc/'passwd'\n")
        subprocess.run(["sh", "-c", as_curl(entry, sink.url)], check=True, capture_output=True)
        (request,) = sink.requests
    assert request["path"] == "/p?q=[1-3]"
    assert request["headers"]["X-A"] == "$(id)"
    assert request["body"] == b"@/etc/'passwd'\n"


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
    text = command(body, headers, method=method, path=path)
    program, globoff, *options = words_of(text)
    assert (program, globoff) == ("curl", "--globoff")
    assert options.pop(0) in ("-X", "--head")
    if not options[0].startswith(SITE):
        options.pop(0)  # the method
    assert options.pop(0).startswith(SITE)
    assert set(options[::2]) <= {"-H", "--data-raw", "--data-binary"}
    assert not set("\x1b\x07\x9b\u202e") & set(text)
