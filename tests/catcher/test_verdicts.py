"""The catcher asks whoever has the keys; what a signature claims is only read."""

import base64

import pytest
from django.test import RequestFactory

from catcher.verdicts import LONGEST_VERDICT, claims_in, is_signed, verdict_on


def refuse(request, body):
    """A verifier with a long reason, in bytes that no database takes."""
    return f"\0no: {body!r} " + "x" * 9999


def accept(request, body):
    return ""


def request(**headers: str):
    return RequestFactory().post(
        "/catcher/b/", headers={n.replace("_", "-"): v for n, v in headers.items()}
    )


def test_request_without_a_signature_gets_no_verdict():
    assert verdict_on(request(), b"") == (None, "")


def test_site_without_a_verifier_gives_no_verdict(settings):
    settings.CATCHER_VERIFIER = ""
    assert not is_signed(request(Upstash_Signature="x"))
    assert verdict_on(request(Upstash_Signature="x"), b"") == (None, "")


def test_verdict_is_the_verifiers(settings):
    settings.CATCHER_VERIFIER = f"{__name__}.accept"
    assert verdict_on(request(Upstash_Signature="x"), b"") == (True, "")


def test_reason_is_bounded_and_clean(settings):
    settings.CATCHER_VERIFIER = f"{__name__}.refuse"
    fits, reason = verdict_on(request(Upstash_Signature="x"), b"hello")
    assert (fits, reason[:14], len(reason)) == (False, "\ufffdno: b'hello' ", LONGEST_VERDICT)


def test_claims_are_read():
    payload = base64.urlsafe_b64encode(b'{"iss":"Upstash"}').decode().rstrip("=")
    assert claims_in(f"e30.{payload}.sig").text == '{\n  "iss": "Upstash"\n}'


@pytest.mark.parametrize(
    "signature", ["", "a", "a.b", "a.b.c", "a.ü.c", "....", "a.\ud800.c", "a.====.c"]
)
def test_signature_that_cannot_be_read_claims_nothing_and_breaks_nothing(signature):
    assert isinstance(claims_in(signature).text, str)
