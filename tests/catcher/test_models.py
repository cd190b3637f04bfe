"""How a caught request is shown and how old ones are deleted."""

import json

import pytest

from catcher.models import Entry


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"plain", "plain"),
        (b"", ""),
        (b'{"a":[1]}', '{\n  "a": [\n    1\n  ]\n}'),
        (b"\xff", "\ufffd"),
        (b'"\\ud800"', '"\\ud800"'),
    ],
)
def test_body_is_readable(body, text):
    assert Entry(body=body).text == text


def test_deeply_nested_body_stays_as_it_came():
    body = b"[" * 1000 + b"]" * 1000
    assert json.loads(Entry(body=body).text) == json.loads(body)


def test_entry_is_named_for_its_request():
    assert str(Entry(method="POST", path="/catcher/b/")) == "POST /catcher/b/"


@pytest.mark.django_db
def test_nothing_is_dropped_of_a_small_bin():
    Entry.objects.create(bin="b", method="POST", path="/", body=b"")
    assert Entry.objects.drop_oldest("b") == 0
    assert Entry.objects.bin("b").exists()
