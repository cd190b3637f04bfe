"""What a page shows of a body: readable, bounded, and never an error."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catcher.bodies import DUMPED_BYTES, LONGEST_TEXT, ShownBody, shown


@pytest.mark.parametrize(
    ("body", "text", "kind"),
    [
        (b"", "", ""),
        (b"plain", "plain", "text"),
        (b'{"a":[1]}', '{\n  "a": [\n    1\n  ]\n}', "json"),
        (b'{"a":{},"b":[ ]}', '{\n  "a": {},\n  "b": []\n}', "json"),
        (b'[1.0,1e400,-0,"a,b:[\\"]"]', '[\n  1.0,\n  1e400,\n  -0,\n  "a,b:[\\"]"\n]', "json"),
        (b'"\\ud800"', '"\\ud800"', "json"),
        ("wörld".encode(), "wörld", "text"),
        (b"a\tb\r\nc", "a\tb\r\nc", "text"),
        (b"\x1b[31mred", "␛[31mred", "text"),
        ("ab\u202ecd".encode(), "ab[U+202E]cd", "text"),
    ],
)
def test_body_is_readable(body, text, kind):
    assert shown(body) == ShownBody(text, kind, False)


@pytest.mark.parametrize(
    ("content_type", "body", "text"),
    [
        ("text/plain; charset=iso-8859-1", b"w\xf6rld", "wörld"),
        ('text/plain; charset="UTF-16"', "wörld".encode("utf-16"), "wörld"),
        ("text/plain", b"w\xf6rld", "w\ufffdrld"),
        ("text/plain; charset=punycode", b"w\xf6rld", "w\ufffdrld"),
        ("text/plain; charset=", b"hello", "hello"),
    ],
)
def test_charset_is_minded(content_type, body, text):
    assert shown(body, content_type).text == text


@pytest.mark.parametrize("body", [b"\xff\xd8\xff\xe0", b"a\0b", b"\xff", bytes(range(256))])
def test_binary_body_is_a_size_and_a_dump(body):
    text, kind, truncated = shown(body)
    assert (kind, truncated) == ("binary", False)
    assert text.startswith(f"{len(body)} byte")
    assert body[:4].hex(" ") in text


def test_dump_reads_like_hexdump():
    assert shown(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0").text.splitlines() == [
        "18 bytes of binary data:",
        "00000000  89 50 4e 47 0d 0a 1a 0a 00 00 00 0d 49 48 44 52  .PNG........IHDR",
        "00000010  00 00                                            ..",
    ]


def test_long_binary_body_is_dumped_at_its_beginning_only():
    text, _, truncated = shown(b"\0" * 1_000_000)
    assert text.startswith("1,000,000 bytes of binary data; the first 256:")
    assert (len(text.splitlines()), truncated) == (1 + DUMPED_BYTES // 16, True)


def test_character_that_was_cut_at_the_end_does_not_make_a_text_binary():
    assert shown("ö€".encode()[:-1]) == ShownBody("ö\ufffd", "text", False)


@pytest.mark.parametrize("size", [LONGEST_TEXT, LONGEST_TEXT + 1, 20 * LONGEST_TEXT])
def test_text_is_cut_where_it_is_too_long(size):
    text, _, truncated = shown(b"x" * size)
    assert (len(text), truncated) == (LONGEST_TEXT, size > LONGEST_TEXT)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 900 + b"1," * 31_000 + b"1" + b"]" * 900,
        b"[" * 32_000 + b"]" * 32_000,
        b"[" + b"[]," * 21_000 + b"[]]",
        b'{"a":' * 900 + b"1" + b"}" * 900,
    ],
    ids=["deep and wide", "deepest", "wide", "deep objects"],
)
def test_json_that_formatting_would_blow_up_is_shown_as_it_came(body):
    assert len(shown(body).text) <= LONGEST_TEXT
    if body.startswith((b"[" * 900, b'{"a":' * 900)):
        assert shown(body).text == body.decode()


def test_json_that_fits_is_indented_as_json_itself_would():
    value = {"a": [1, {"b": None, "c": []}, "x"], "d": {}, "e": True}
    assert shown(json.dumps(value).encode()).text == json.dumps(value, indent=2)


def slowest(bodies: list[bytes]) -> float:
    """The seconds of processor time that the slowest body takes."""
    taken = []
    for body in bodies:
        started = time.process_time()
        shown(body)
        taken.append(time.process_time() - started)
    return max(taken)


def test_no_body_of_a_megabyte_takes_long():
    pieces = [b"[", b'"', b'\\"', b'"\\', b"[1,", b'{"":', b"9", b"\0", b"\xff", b"\xe2\x82", b" "]
    bodies = [piece * (size // len(piece)) for piece in pieces for size in (60_000, 1_000_000)]
    bodies += [b"[" + b"9" * 60_000 + b"]", b'["' + b'\\"' * 30_000 + b'"]']
    assert slowest(bodies) < 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_indenting_changes_no_value(value):
    body = json.dumps(value).encode()
    again = json.loads(shown(body).text)
    assert json.dumps(again) == json.dumps(json.loads(body))


@given(st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")), st.text())
def test_any_body_gives_a_text_that_a_page_can_contain(body, content_type):
    text, kind, _ = shown(body, content_type)
    text.encode()
    assert kind in ("json", "text", "binary", "")
    assert "\0" not in text
    assert bool(text) == bool(body) or kind == "text"
