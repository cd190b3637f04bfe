"""What is left out of a caught request."""

import pytest

from catcher.masking import MASK, clean, without_secrets


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("Authorization", "Bearer abc.def", f"Bearer {MASK}"),
        ("authorization", "abc", MASK),
        ("Proxy-Authorization", "Basic YTpi", f"Basic {MASK}"),
        ("Upstash-Forward-Authorization", "Bearer abc", f"Bearer {MASK}"),
        ("Cookie", "sessionid=abc; csrftoken=def", f"sessionid={MASK}; csrftoken={MASK}"),
        ("Cookie", "", ""),
        ("X-CSRFToken", "abc", MASK),
        ("X-Api-Key", "abc", MASK),
        ("Idempotency-Key", "job-1", "job-1"),
        ("Upstash-Signature", "a.b.c", "a.b.c"),
        ("Content-Type", "application/json", "application/json"),
    ],
)
def test_secret_values_are_masked_and_others_kept(name, value, kept):
    assert without_secrets([(name, value)]) == [(name, kept)]


def test_text_can_be_stored_by_every_database():
    assert clean("a\0b\ud800") == "a\ufffdb?"
