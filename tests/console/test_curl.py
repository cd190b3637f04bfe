"""A copied command makes the request, in any shell, and carries no secret."""

import shlex

import pytest

from console.curl import as_curl
from console.masking import MASK

URL = "https://host.test/a?b=c"


def words(command: str) -> list[str]:
    return shlex.split(command.replace("\\\n", ""))


def test_command_has_method_url_headers_and_body():
    command = as_curl("PUT", URL, [("X-A", "1"), ("X-A", "it's")], b'{"a": "b\'c"}')
    assert words(command) == [
        "curl", "-X", "PUT", URL, "-H", "X-A: 1", "-H", "X-A: it's", "--data-raw", '{"a": "b\'c"}',
    ]  # fmt: skip


def test_nothing_in_it_is_a_command_of_its_own():
    evil = "'; rm -rf / #$(reboot)`reboot`"
    command = as_curl(evil, URL + evil, [("X-A", evil), (f"X{evil}", "1")], evil.encode())
    assert words(command) == [
        "curl",
        "-X",
        evil,
        URL + evil,
        "-H",
        f"X-A: {evil}",
        "--data-raw",
        evil,
    ]


def test_secrets_of_url_and_body_are_masked():
    command = as_curl("POST", "https://me:word@host.test/?token=abc", [], b'{"password": "abc"}')
    assert "word@" not in command and "abc" not in command
    assert command.count(MASK) == 3


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a\0b", b"\x1b[2J", b"x" * 70_000, "‮".encode()])
def test_body_that_no_terminal_can_take_is_a_file(body):
    command = as_curl("POST", URL, [], body)
    assert f"--data-binary @body  # a file with the {len(body):,} bytes" in command


def test_terminal_is_not_controlled_by_a_header():
    command = as_curl("POST", URL, [("X-A", "a\x1b[2J\nb‮c")], b"")
    assert words(command)[-1] == "X-A: a?[2J b?c"


def test_body_that_begins_with_an_at_is_no_file():
    assert words(as_curl("POST", URL, [], b"@/etc/passwd"))[-2:] == ["--data-raw", "@/etc/passwd"]
