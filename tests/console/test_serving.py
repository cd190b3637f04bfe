"""What all of the queue's pages have in common."""

import pytest
from django.test import RequestFactory

from console.embedded import EmbeddedPages
from console.hosted import HostedPages
from console.serving import done, not_done, queue_pages, what_was_said


def test_queue_is_the_one_that_carries_the_messages(settings):
    settings.QSTASH_TOKEN = ""
    assert isinstance(queue_pages(), EmbeddedPages)
    settings.QSTASH_TOKEN = "token"
    assert isinstance(queue_pages(), HostedPages)


def said(query: str, name: str = "done") -> str:
    return what_was_said(RequestFactory().get(f"/?{query}"), name)


@pytest.mark.parametrize("address", ["/a", "/a?b=c"])
def test_page_says_what_was_done(address):
    location = done(address, "Queue <mail> paused.")["Location"]
    path, _, query = location.partition("?")
    assert path == "/a" and "&&" not in location and "?&" not in location
    assert said(query) == "Queue <mail> paused."
    assert said(query, "not_done") == ""
    assert said(not_done(address, "No.")["Location"].partition("?")[2], "not_done") == "No."


@pytest.mark.parametrize("query", ["", "done=", "done=pwned", "done=pwned:1vabc:0123456789"])
def test_page_says_nothing_that_the_site_has_not_signed(query):
    assert said(query) == ""


def test_page_says_nothing_of_long_ago(monkeypatch):
    query = done("/a", "Done.")["Location"].partition("?")[2]
    monkeypatch.setattr("console.serving.SAID_SECONDS", -1)
    assert said(query) == ""
