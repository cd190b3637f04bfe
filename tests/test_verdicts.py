"""The site's verdict on a signature that the catcher has caught."""

import time

import pytest
from django.conf import settings
from django.test import RequestFactory

from broker.signing import sign
from jobsite.verdicts import verdict

URL = "http://testserver/catcher/b/"


def judged(signature: str, body: bytes = b"hello", path: str = "/catcher/b/") -> str:
    request = RequestFactory().post(path, headers={"Upstash-Signature": signature})
    return verdict(request, body)


@pytest.mark.parametrize("name", ["QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"])
def test_signature_of_either_key_fits(name):
    assert judged(sign(URL, b"hello", getattr(settings, name), int(time.time()))) == ""


def test_reason_says_what_does_not_fit():
    key, now = settings.QSTASH_CURRENT_SIGNING_KEY, int(time.time())
    assert "none of our keys" in judged(
        sign(URL, b"hello", "sig_of_somebody_else_entirely_unknown", now)
    )
    assert "body" in judged(sign(URL, b"other", key, now))
    assert "signed for" in judged(sign(URL, b"hello", key, now), path="/catcher/c/")
    assert "expired" in judged(sign(URL, b"hello", key, now - 3600))
    assert judged("nonsense")
