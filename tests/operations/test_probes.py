"""The doctor's own requests: strangers are told nothing, and nothing is changed."""

import time

import pytest
from django.test import AsyncClient

from broker.signing import sign
from jobs.models import Job
from operations.probes import MARKER, PASS_HEADER, added_addresses, new_pass, signer

SEEN, FORM, SIGNATURE = "/api/doctor/seen", "/api/doctor/form", "/api/doctor/signature"


async def post(path: str, **headers: str):
    return await AsyncClient(enforce_csrf_checks=True).post(
        path, b"{}", content_type="application/json", headers=headers
    )


def old_pass(monkeypatch) -> str:
    with monkeypatch.context() as then:
        then.setattr(time, "time", lambda: 1_000_000_000.0)
        return new_pass()


@pytest.mark.parametrize("path", [SEEN, FORM])
@pytest.mark.parametrize("shown", ["", "x", "forged"])
async def test_stranger_is_told_nothing(path, shown, monkeypatch):
    given = {"": "", "x": "x", "forged": signer().sign("a")[:-1] + "_"}[shown]
    token = "a" * 32
    csrf = {"Cookie": f"csrftoken={token}", "X-CSRFToken": token, "Origin": "http://testserver"}
    answer = await post(path, **{PASS_HEADER: given}, **csrf)
    assert (answer.status_code, list(answer.json())) == (403, ["error"])


async def test_pass_is_good_for_half_a_minute(monkeypatch):
    assert (await post(SEEN, **{PASS_HEADER: old_pass(monkeypatch)})).status_code == 403


async def test_seen_is_what_the_site_sees(settings):
    forwarded = {"X-Forwarded-For": f"{MARKER}, 10.0.0.9", "X-Forwarded-Proto": "https"}
    answer = await post(SEEN, **{PASS_HEADER: new_pass()}, **forwarded)
    found = answer.json()
    assert abs(found.pop("time") / 1000 - time.time()) < 30
    assert found == {
        "scheme": "http",
        "host": "testserver",
        "host_is_allowed": True,
        "address": "127.0.0.1",
        "added": 1,
        "forwarded_proto": "https",
        "site": "http://testserver",
        "public_url": "http://testserver",
        "proxies": 0,
    }


def test_host_that_is_not_allowed_is_told(client):
    given = {"Host": "elsewhere.test", PASS_HEADER: new_pass()}
    found = client.post(SEEN, headers=given).json()
    assert (found["host"], found["host_is_allowed"]) == ("elsewhere.test", False)


@pytest.mark.parametrize(
    ("header", "added"),
    [("", 0), (MARKER, 0), (f"{MARKER}, 10.0.0.1, 10.0.0.2", 2), ("10.0.0.1", 1)],
)
def test_proxies_are_counted_by_what_they_add(header, added):
    assert added_addresses(header) == added


async def test_form_from_another_origin_is_refused():
    token = "a" * 32
    given = {PASS_HEADER: new_pass(), "Cookie": f"csrftoken={token}", "X-CSRFToken": token}
    assert (await post(FORM, Origin="https://evil.test", **given)).status_code == 403
    assert (await post(FORM, Origin="http://testserver", **given)).json() == {"accepted": True}


async def test_signature_is_accepted_and_starts_nothing(settings, transactional_db):
    key = settings.QSTASH_NEXT_SIGNING_KEY
    good = sign(f"http://testserver{SIGNATURE}", b"{}", key, int(time.time()))
    answer = await post(SIGNATURE, **{"Upstash-Signature": good})
    assert (answer.status_code, answer.json()) == (200, {"accepted": True})
    assert not await Job.objects.aexists()


async def test_wrong_signature_and_wrong_method_are_refused(async_client):
    wrong = sign(f"http://testserver{SIGNATURE}", b"{}", f"sig_{32 * '0'}", int(time.time()))
    assert (await post(SIGNATURE, **{"Upstash-Signature": wrong})).status_code == 403
    assert (await async_client.get(SEEN)).status_code == 405
