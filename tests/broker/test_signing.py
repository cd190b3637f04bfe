"""What we sign is accepted by QStash's receiver and by ours; anything that differs is refused.

https://upstash.com/docs/qstash/features/security lists the claims.
"""

import time

import jwt
import pytest
import qstash
from qstash.errors import SignatureError

from broker.signing import body_hash, prepared, sign
from jobs.signatures import verify

CURRENT, NEXT = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r", "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
URL, BODY = "http://127.0.0.1:3000/hook", b'{"n":1}'
# Signed with CURRENT, with the documented claims; valid until 2100.
VECTOR = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJVcHN0YXNoIiwic3ViIjoiaHR0cDovLzEyNy4wLjAu"
    "MTozMDAwL2hvb2siLCJleHAiOjQxMDI0NDQ4MDAsIm5iZiI6MCwiaWF0IjoxNzAwMDAwMDAwLCJqdGkiOiJqd3Rf"
    "dGVzdCIsImJvZHkiOiJLXzBVOUQwWF9IenFKT0NSZW9oNXRMTDRnTGk2N3NHNTJRLTZyV1ZlY2IwPSJ9.YMql6ILk"
    "fwXrE-ayiKPkfM1tBEi4JKEhtLycwPN229Q"
)
receiver = qstash.Receiver(CURRENT, NEXT)


def signed(url: str = URL, body: bytes = BODY, key: str = CURRENT) -> str:
    return sign(url, body, key, int(time.time()))


def claims(signature: str) -> dict[str, object]:
    return jwt.decode(signature, options={"verify_signature": False})


def test_example_signature_is_accepted():
    assert verify(VECTOR, BODY, URL, [CURRENT, NEXT])["jti"] == "jwt_test"


def test_our_claims_are_the_documented_ones_in_their_order():
    ours, documented = claims(signed()), claims(VECTOR)
    assert list(ours) == list(documented)
    assert ours["body"] == documented["body"]


def test_header_is_the_documented_one():
    assert signed().partition(".")[0] == VECTOR.partition(".")[0]


def test_same_claims_give_the_same_signature():
    assert jwt.encode(claims(VECTOR), CURRENT, algorithm="HS256") == VECTOR


def test_signature_is_valid_for_five_minutes():
    ours = claims(sign(URL, BODY, CURRENT, 1_700_000_000))
    assert (ours["nbf"], ours["iat"], ours["exp"]) == (0, 1_700_000_000, 1_700_000_300)


def test_key_is_examined_once_for_signing_and_checking():
    prepared.cache_clear()
    for _ in range(3):
        verify(signed(), BODY, URL, [CURRENT])
    assert prepared.cache_info().misses == 1


@pytest.mark.parametrize("key", ["", "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----"])
def test_what_is_no_shared_secret_signs_nothing(key):
    with pytest.raises(jwt.InvalidKeyError):
        signed(key=key)


def test_no_two_signatures_are_the_same():
    assert claims(signed())["jti"] != claims(signed())["jti"]


def test_hash_of_an_empty_body_is_the_documented_one():
    assert body_hash(b"") == "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.mark.parametrize("body", [BODY, b"", "ü€".encode()])
@pytest.mark.parametrize("key", [CURRENT, NEXT])
def test_official_receiver_accepts_what_we_sign(body, key):
    signature = signed(body=body, key=key)
    receiver.verify(signature=signature, body=body.decode(), url=URL)
    assert verify(signature, body, URL, [CURRENT, NEXT])["sub"] == URL


@pytest.mark.parametrize(
    "signature",
    [
        signed(url=URL + "/"),
        signed(body=b'{"n":2}'),
        signed(key="sig_other" * 4),
        VECTOR[:-1] + "A",
    ],
)
def test_official_receiver_refuses_what_differs(signature):
    with pytest.raises(SignatureError):
        receiver.verify(signature=signature, body=BODY.decode(), url=URL)


def test_official_receiver_refuses_a_signature_after_five_minutes():
    expired = sign(URL, BODY, CURRENT, int(time.time()) - 301)
    with pytest.raises(SignatureError, match="expired"):
        qstash.Receiver(CURRENT, CURRENT).verify(signature=expired, body=BODY.decode(), url=URL)
