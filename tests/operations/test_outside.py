"""What an answer of the site, or of something else, means."""

import json

import pytest

from operations.findings import OK, PROBLEM, UNKNOWN
from operations.outside import (
    Address,
    Answer,
    address_finding,
    address_of,
    proxies_finding,
    what_is_wrong,
)
from operations.probes import NOT_THE_DOCTOR

HTTPS = Address("https://jobs.example.com", public=True)
SEEN = {
    "scheme": "https",
    "host": "jobs.example.com",
    "host_is_allowed": True,
    "address": "10.0.0.1",
    "added": 1,
    "proxies": 1,
    "public_url": "https://jobs.example.com",
}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(0, error="no such name"), "cannot be reached: no such name."),
        (Answer(301, location="https://jobs.example.com/api/doctor/seen"), "to itself for ever"),
        (Answer(308, location="https://b.test/api/doctor/seen"), "redirects to https://b.test."),
        (Answer(302, location="/login"), "redirects to https://jobs.example.com/login."),
        (Answer(403, json.dumps({"error": NOT_THE_DOCTOR}).encode()), "another SECRET_KEY"),
        (Answer(403, b"Forbidden"), "something before the site lets nobody in"),
        (Answer(400), "does not know the host"),
        (Answer(502), "answers 502: a proxy does not reach the site"),
        (Answer(404, b"[]"), "answers 404 and is not this site"),
        (Answer(200, b"<html>"), "answers 200 and is not this site"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(settings, answer, words):
    settings.PUBLIC_URL = HTTPS.url
    said, remedy = what_is_wrong(HTTPS, answer)
    assert words in said
    assert remedy.endswith((".", "0.", "follow."))
    assert address_finding(HTTPS, answer, None).state == PROBLEM


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ({"host": "10.0.0.7:8000"}, "pass on the visitor's Host"),
        ({"host_is_allowed": False}, "pass on the visitor's Host"),
        ({"scheme": "http", "added": 2}, "Set PROXIES=2"),
        ({"scheme": "http", "added": 0}, "Set PROXIES=1"),
        ({"added": 2}, "Set PROXIES=2: until then all visitors seem to come from one address."),
        ({"added": 0}, "Set PROXIES=0: until then a visitor can pretend"),
    ],
)
def test_proxies_that_are_not_as_they_should_be(changed, remedy):
    finding = proxies_finding(HTTPS, SEEN | changed)
    assert (finding.state, remedy in finding.remedy) == (PROBLEM, True)


@pytest.mark.parametrize("host", ["jobs.example.com", "Jobs.Example.com:443"])
def test_host_is_compared_without_the_usual_port(host):
    assert proxies_finding(HTTPS, SEEN | {"host": host}).state == OK


def test_address_is_the_one_given_or_the_public_one_or_the_port(settings):
    assert address_of("http://a.test/") == Address("http://a.test", public=True)
    assert address_of() == Address("http://testserver", public=True)
    settings.PUBLIC_URL, settings.PORT = "", 8123
    local = address_of()
    assert local == Address("http://127.0.0.1:8123", public=False)
    assert proxies_finding(local, SEEN).state == UNKNOWN
    seen = SEEN | {"public_url": ""}
    assert address_finding(local, Answer(200), seen).state == UNKNOWN
    settings.DEBUG = True
    assert address_finding(local, Answer(200), seen).state == OK


def test_remedy_for_a_redirect_depends_on_whose_address_it_is(settings):
    answer = Answer(301, location="https://b.test/api/doctor/seen")
    given = Address("http://b.test", public=True)
    assert what_is_wrong(given, answer)[1] == "Ask there: manage.py doctor --url https://b.test"
    settings.PUBLIC_URL = given.url
    assert what_is_wrong(given, answer)[1].startswith("Set PUBLIC_URL to https://b.test: ")
