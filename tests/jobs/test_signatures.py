"""What a receiver refuses, and the little that it accepts."""

import base64
import hashlib
import hmac
import json
import logging
import time

import pytest
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.test import Client, RequestFactory
from hypothesis import HealthCheck, given
from hypothesis import settings as trying
from hypothesis import strategies as st

from broker.signing import sign
from jobs.models import Job
from jobs.signatures import LARGEST_BODY, SignatureError, current_site_url, site_url, verify

URL = "http://testserver/api/long-task"
BODY = b'{"hello": "world", "job_id": 1}'
CURRENT, NEXT = settings.QSTASH_CURRENT_SIGNING_KEY, settings.QSTASH_NEXT_SIGNING_KEY
HASH = base64.urlsafe_b64encode(hashlib.sha256(BODY).digest()).decode()
MISSING = object()


def encoded(part: object) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def signature(key: str = CURRENT, algorithm: str = "HS256", **changes: object) -> str:
    """A good signature for BODY and URL, but for the changes. Made by hand: a library would
    refuse to make most of the bad ones.
    """
    now = int(time.time())
    claims = {"iss": "Upstash", "sub": URL, "exp": now + 300, "nbf": 0, "iat": now}
    claims |= {"jti": "jwt_test", "body": HASH} | changes
    claims = {name: value for name, value in claims.items() if value is not MISSING}
    signed = f"{encoded({'alg': algorithm, 'typ': 'JWT'})}.{encoded(claims)}"
    if algorithm == "none":
        return f"{signed}."
    digest = algorithm.replace("HS", "sha")
    return f"{signed}.{encoded(hmac.digest(key.encode(), signed.encode(), digest))}"


def altered(claim: str, value: object) -> str:
    """A good signature, one of its claims exchanged afterwards."""
    head, _, mac = signature().split(".")
    _, claims, _ = signature(**{claim: value}).split(".")
    return f"{head}.{claims}.{mac}"


REFUSED = {
    "missing": lambda: "",
    "garbage": lambda: "garbage",
    "three empty parts": lambda: "..",
    "dots": lambda: "." * 100,
    "not ascii": lambda: "ÿþ.ü.ß",
    "not ascii, as base64": lambda: "w7w.w7w.w7w",
    "header is a list": lambda: "W10.e30.e30",
    "header is deeply nested": lambda: f"{encoded(b'[' * 90_000)}.e30.e30",
    "forged key": lambda: signature(key="sig_0000000000000000000000000000"),
    "empty key": lambda: signature(key=""),
    "no algorithm": lambda: signature(algorithm="none"),
    "HS384": lambda: signature(algorithm="HS384"),
    "HS512": lambda: signature(algorithm="HS512"),
    "expired": lambda: signature(exp=int(time.time()) - 60),
    "not yet valid": lambda: signature(nbf=int(time.time()) + 60),
    "issued in the future": lambda: signature(iat=int(time.time()) + 60),
    "another URL": lambda: signature(sub="http://testserver/api/job-failed"),
    "another host": lambda: signature(sub="http://attacker.test/api/long-task"),
    "URL with half a surrogate pair": lambda: signature(sub="\ud800"),
    "another body": lambda: signature(body=HASH.swapcase()),
    "body hash is a number": lambda: signature(body=1),
    "body hash is a list": lambda: signature(body=[HASH]),
    "body hash is half a surrogate pair": lambda: signature(body="\ud800"),
    "body hash is empty": lambda: signature(body=""),
    "wrong issuer": lambda: signature(iss="Downstash"),
    "issuer is a list": lambda: signature(iss=["Upstash"]),
    "no issuer": lambda: signature(iss=MISSING),
    "no subject": lambda: signature(sub=MISSING),
    "no expiry": lambda: signature(exp=MISSING),
    "no beginning": lambda: signature(nbf=MISSING),
    "no body hash": lambda: signature(body=MISSING),
    "expiry is infinite": lambda: signature(exp=float("inf")),
    "expiry is a word": lambda: signature(exp="tomorrow"),
    "an audience": lambda: signature(aud="somebody else"),
    "longer life after signing": lambda: altered("exp", 4102444800),
    "another subject after signing": lambda: altered("sub", "http://other.test/"),
}


@pytest.fixture
def post(client):
    """POST to /api/long-task without any database: a test that reached it would fail."""

    def post(signature: str, body: bytes = BODY, **headers: str):
        headers = {"Upstash-Signature": signature, **headers}
        return client.post("/api/long-task", body, "application/json", headers=headers)

    return post


@pytest.fixture
def log(caplog):
    """What `jobs` logs, which goes no further than its own handler."""
    logger = logging.getLogger("jobs")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_bad_signature_is_refused(post, make):
    response = post(make())
    assert response.status_code == 403
    assert response.json() == {"error": "invalid signature"}


def test_unsigned_request_is_refused(client):
    response = client.post("/api/long-task", BODY, "application/json")
    assert response.status_code == 403


def test_altered_body_is_refused(post):
    assert post(signature(), BODY + b" ").status_code == 403


def test_failure_report_is_refused_unless_signed(client):
    response = client.post("/api/job-failed", BODY, "application/json")
    assert response.status_code == 403


def test_signature_for_one_url_is_refused_at_the_other(client):
    headers = {"Upstash-Signature": signature()}
    response = client.post("/api/job-failed", BODY, "application/json", headers=headers)
    assert response.status_code == 403


async def test_refused_message_does_no_work(deliver, job):
    response = await deliver(
        "/api/long-task", {"job_id": job.id}, **{"Upstash-Signature": signature()}
    )
    await job.arefresh_from_db()
    assert response.status_code == 403
    assert (job.status, job.attempts, job.log) == (Job.Status.QUEUED, 0, [])


@pytest.mark.parametrize(
    "good",
    [
        lambda: signature(),
        lambda: signature(key=NEXT),
        lambda: signature(body=HASH.rstrip("=")),
        lambda: signature(exp=int(time.time()) - 3),
        lambda: signature(nbf=int(time.time()) + 3),
        lambda: sign(URL, BODY, CURRENT, int(time.time())),
    ],
    ids=["current key", "next key", "unpadded hash", "just expired", "nearly valid", "our queue's"],
)
def test_good_signature_is_accepted(post, good):
    assert post(good()).status_code == 489  # past the signature: the body names no job


def test_vector_of_the_protocol_document_is_accepted():
    """qstash-protocol.md, section 5: both of QStash's SDKs accept it."""
    vector = (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJVcHN0YXNoIiwic3ViIjoiaHR0cDovLzEyNy4"
        "wLjAuMTozMDAwL2hvb2siLCJleHAiOjQxMDI0NDQ4MDAsIm5iZiI6MCwiaWF0IjoxNzAwMDAwMDAwLCJqdGkiO"
        "iJqd3RfdGVzdCIsImJvZHkiOiJLXzBVOUQwWF9IenFKT0NSZW9oNXRMTDRnTGk2N3NHNTJRLTZyV1ZlY2IwPSJ9"
        ".YMql6ILkfwXrE-ayiKPkfM1tBEi4JKEhtLycwPN229Q"
    )
    claims = verify(vector, b'{"n":1}', "http://127.0.0.1:3000/hook", [CURRENT, NEXT])
    assert claims["jti"] == "jwt_test"


@pytest.mark.parametrize("keys", [[], [""], ["", ""]])
def test_without_keys_nothing_is_accepted(keys):
    for token in (signature(), signature(key="")):
        with pytest.raises(SignatureError, match="none of our keys"):
            verify(token, BODY, URL, keys)


def test_key_that_is_no_shared_secret_is_an_error_not_a_crash():
    with pytest.raises(SignatureError):
        verify(signature(), BODY, URL, ["-----BEGIN PUBLIC KEY-----\n" + "A" * 40])


def test_public_url_decides_whatever_host_the_proxy_sends(post, settings):
    settings.PUBLIC_URL = "https://jobs.example.com"
    public = signature(sub="https://jobs.example.com/api/long-task")
    local = signature(sub="http://localhost/api/long-task")
    assert post(public, Host="localhost").status_code == 489
    assert post(local, Host="localhost").status_code == 403


def test_without_public_url_the_validated_host_decides(post, settings):
    settings.PUBLIC_URL = ""
    local = signature(sub="http://localhost/api/long-task")
    assert post(local, Host="localhost").status_code == 489
    assert post(signature(), Host="attacker.test").status_code == 400


def test_query_belongs_to_the_url_that_was_signed(client):
    headers = {"Upstash-Signature": signature()}
    response = client.post("/api/long-task?x=1", BODY, "application/json", headers=headers)
    assert response.status_code == 403


def test_production_keeps_the_reason_to_its_log(post, log):
    assert "attacker.test" not in post(signature(sub="http://attacker.test/")).text
    (line,) = [record for record in log.records if record.name == "jobs.signatures"]
    assert line.reason == f"signed for http://attacker.test/, received at {URL}"


def test_debug_says_what_was_signed_and_where_it_arrived(post, settings):
    settings.DEBUG = True
    error = post(signature(sub="http://old.test/")).json()["error"]
    assert f"signed for http://old.test/, received at {URL}" in error


def test_body_of_more_than_a_mebibyte_is_too_large(post):
    body = b"x" * (LARGEST_BODY + 1)
    assert post(sign(URL, body, CURRENT, int(time.time())), body).status_code == 413


def test_body_of_just_a_mebibyte_is_read(post):
    body = b"x" * LARGEST_BODY
    assert post(sign(URL, body, CURRENT, int(time.time())), body).status_code == 489


@pytest.mark.parametrize("path", ["/api/long-task", "/api/job-failed"])
def test_queue_must_post(client, path):
    assert client.get(path).status_code == 405


header_text = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=80)


@trying(max_examples=60, deadline=None)
@given(header_text | st.lists(header_text, min_size=3, max_size=3).map(".".join), st.binary())
def test_no_header_and_no_body_is_too_strange_to_refuse(signature, body):
    headers = {"Upstash-Signature": signature}
    response = Client().post("/api/long-task", body, "application/json", headers=headers)
    assert response.status_code == 403


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def source(job_id: str) -> str:
    return base64.b64encode(json.dumps({"job_id": job_id}).encode()).decode()


bodies = st.one_of(
    st.binary(),
    json_values.map(json.dumps).map(str.encode),
    st.text().map(lambda text: json.dumps({"job_id": text}).encode()),
    st.text().map(lambda text: json.dumps({"status": 500, "sourceBody": source(text)}).encode()),
)


@trying(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["/api/long-task", "/api/job-failed"]), bodies, header_text, header_text)
def test_whatever_is_signed_is_answered_with_a_plain_word(
    transactional_db, path, body, retried, message_id
):
    response = Client().post(
        path,
        body,
        "application/json",
        headers={
            "Upstash-Signature": sign(f"http://testserver{path}", body, CURRENT, int(time.time())),
            "Upstash-Retried": retried,
            "Upstash-Message-Id": message_id,
        },
    )
    assert response.status_code in {200, 489}


def request_for(host: str):
    return RequestFactory().get("/", headers={"Host": host})


def test_public_url_comes_first(settings):
    settings.PUBLIC_URL = "https://jobs.example.com"
    assert site_url(request_for("localhost:8123")) == "https://jobs.example.com"
    assert current_site_url() == "https://jobs.example.com"


def test_else_it_is_the_host_of_the_request(settings):
    settings.PUBLIC_URL = ""
    assert site_url(request_for("localhost:8123")) == "http://localhost:8123"


def test_unknown_host_is_no_address(settings):
    settings.PUBLIC_URL = ""
    with pytest.raises(DisallowedHost):
        site_url(request_for("attacker.test"))


def test_outside_of_a_request_nobody_knows(settings):
    settings.PUBLIC_URL = ""
    assert current_site_url() == ""
