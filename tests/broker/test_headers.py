"""Header values on their way into a row and out again, and how many of an answer's are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.headers import (
    LARGEST_HEADER,
    canonical,
    header_bytes,
    header_text,
    request_headers,
    response_header,
)


def answered(*pairs: tuple[str, str]) -> dict[str, list[str]]:
    return response_header(pairs)


def test_canonical_names_are_those_of_mime():
    names = ["x-a", "CONTENT-TYPE", "RunId", "upstash-message-id"]
    assert [canonical(name) for name in names] == [
        "X-A",
        "Content-Type",
        "Runid",
        "Upstash-Message-Id",
    ]


@pytest.mark.parametrize("text", ["plain", "café", "☃", ""])
def test_utf8_is_kept_as_its_text(text):
    assert header_text(text.encode().decode("latin-1")) == text


def test_bytes_that_are_not_utf8_can_be_stored():
    assert header_text("caf\xe9 \xff").encode("utf-8") == "caf\U0010fee9 \U0010feff".encode()


@given(st.binary())
def test_every_byte_comes_out_as_it_went_in(value):
    assert header_bytes(header_text(value.decode("latin-1")).encode()) == value


def test_all_values_of_a_header_are_sent():
    assert request_headers({"X-A": ["1", "2"], "x-b": ["3"]}).getall("X-A") == ["1", "2"]


def test_all_values_of_an_answer_are_kept():
    assert answered(("x-a", "1"), ("X-A", "2")) == {"X-A": ["1", "2"]}


def test_bytes_of_an_answer_that_are_not_utf8_are_marked():
    assert answered(("X-A", "caf\udce9")) == {"X-A": ["caf�"]}


def test_header_too_large_to_keep_is_left_out_and_smaller_ones_are_not():
    large = "x" * LARGEST_HEADER
    assert answered(("X-A", "1"), ("X-Large", large), ("Retry-After", "5")) == {
        "X-A": ["1"],
        "Retry-After": ["5"],
    }


def test_what_is_kept_of_many_headers_is_bounded():
    lists = answered(*((f"X-{number}", "ü" * 1000) for number in range(100)))
    assert 7 <= len(lists) <= 8
