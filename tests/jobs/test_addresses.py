"""Where the site is: what PUBLIC_URL says, else the validated host."""

import pytest
from django.core.exceptions import DisallowedHost
from django.test import RequestFactory

from jobs.addresses import site_url

request = RequestFactory().get("/", headers={"Host": "localhost:8123"})


def test_public_url_comes_first(settings):
    settings.PUBLIC_URL = "https://jobs.example.com"
    assert site_url(request) == "https://jobs.example.com"


def test_else_it_is_the_host_of_the_request(settings):
    settings.PUBLIC_URL = ""
    assert site_url(request) == "http://localhost:8123"


def test_unknown_host_is_no_address(settings):
    settings.PUBLIC_URL = ""
    with pytest.raises(DisallowedHost):
        site_url(RequestFactory().get("/", headers={"Host": "attacker.test"}))
