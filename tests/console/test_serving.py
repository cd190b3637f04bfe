"""What all of the queue's pages have in common."""

import pytest
from django.test import RequestFactory

from console.embedded import EmbeddedPages
from console.hosted import HostedPages
from console.serving import done, queue_pages, what_was_done


def test_queue_is_the_one_that_carries_the_messages(settings):
    settings.QSTASH_TOKEN = ""
    assert isinstance(queue_pages(), EmbeddedPages)
    settings.QSTASH_TOKEN = "token"
    assert isinstance(queue_pages(), HostedPages)


@pytest.mark.parametrize(
    "said, words",
    [
        ("cancelled-1", "1 cancelled."),
        ("deleted-10000+", "10,000 deleted. There are more: do it again."),
        ("", ""),
        ("pwned by evil-1", ""),
        ("<b>-1", ""),
    ],
)
def test_page_says_what_was_done_and_nothing_else(said, words):
    assert what_was_done(RequestFactory().get("/", {"done": said})) == words


def test_address_says_what_was_done():
    assert done("/a", "deleted", 3)["Location"] == "/a?done=deleted-3"
    assert done("/a?b=c", "deleted", 3, more=True)["Location"] == "/a?b=c&done=deleted-3%2B"
