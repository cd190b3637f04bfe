"""Behind a TLS proxy: a site that has not been told redirects for ever, and says so once."""

import logging
from collections.abc import Iterator

import pytest
import requests
from django.test import Client

from harness.nginx import CONNECTS_FROM, TLSProxy
from harness.processes import site
from operations.proxies import loop_warning

TEXT = "redirect loop: set PROXIES to the number of proxies before the site"


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    """What this process has said belongs to another test."""
    loop_warning.said = False
    yield
    loop_warning.said = False


@pytest.fixture
def redirecting(settings, caplog) -> pytest.LogCaptureFixture:
    settings.SECURE_SSL_REDIRECT, settings.PROXIES = True, 0
    logging.getLogger("operations").addHandler(caplog.handler)
    yield caplog
    logging.getLogger("operations").removeHandler(caplog.handler)


def ask(**headers: str) -> int:
    return Client(headers=headers).get("/").status_code


def test_loop_is_named_once_a_process(redirecting):
    assert [ask(x_forwarded_proto="https") for _ in range(3)] == [301, 301, 301]
    assert [record.getMessage() for record in redirecting.records] == [TEXT]
    assert redirecting.records[0].peer == "127.0.0.1"


@pytest.mark.parametrize("headers", [{}, {"x_forwarded_proto": "http"}], ids=["none", "http"])
def test_redirect_of_a_request_over_http_is_no_loop(redirecting, headers):
    assert ask(**headers) == 301
    assert redirecting.records == []


def test_request_that_is_not_redirected_is_no_loop(redirecting, settings, db):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert ask(x_forwarded_proto="https") == 200
    assert redirecting.records == []


def test_health_check_is_not_redirected_and_no_loop(redirecting, db):
    assert Client(headers={"x_forwarded_proto": "https"}).get("/healthz").status_code == 200
    assert redirecting.records == []


@pytest.mark.usefixtures("needs_nginx")
def test_site_behind_a_proxy_on_another_address_works_once_it_is_told(tmp_path):
    with (
        site(tmp_path, RUN_DISPATCHER="0", PROXIES="0") as running,
        TLSProxy(tmp_path, running.port) as proxy,
    ):
        running.environment["PUBLIC_URL"] = proxy.url
        web = running.start_web()
        answers = [visit(proxy) for _ in range(3)]
        assert {answer.headers["Location"] for answer in answers} == {f"{proxy.url}/"}
        running.stop(web)
        (line,) = [line for line in running.log.read_text().splitlines() if TEXT in line]
        assert f"WARNING operations.proxies {TEXT} peer={CONNECTS_FROM} path=/" in line
        running.start_web(PROXIES="1")
        page = visit(proxy)
        assert (page.status_code, "Start Background Job" in page.text) == (200, True)


def visit(proxy: TLSProxy) -> requests.Response:
    url = f"{proxy.url}/"
    return requests.get(url, verify=proxy.certificate, allow_redirects=False, timeout=30)
