import pytest
from django.test import RequestFactory

from live.pages import News, OpenPage
from live.sources import Part, parts


async def grown(request, since):
    return News("<p>new</p>", "2") if since != "2" else None


@pytest.fixture
def part():
    """A part of every page, whose version the test sets."""

    class Words:
        word = "on"

        async def version(self):
            return self.word

        def render(self):
            return f"<b>{self.word}</b>"

    words = Words()
    parts.append(Part("light", words.version, words.render))
    yield words
    parts.pop()


def open_page(query="", **headers):
    return OpenPage(RequestFactory().get(f"/changes{query}", headers=headers), grown, {})


async def test_page_has_news_until_it_has_the_version():
    page = open_page("?since=1")
    assert await page.news() == News("<p>new</p>", "2")
    assert await page.news() is None


async def test_last_event_is_newer_than_the_url():
    page = open_page("?since=1", Last_Event_ID="2")
    assert await page.news() is None


@pytest.mark.parametrize("since", ["2%0d%0aevil:1", "2%00", "%C3%BC"])
async def test_version_that_cannot_be_one_of_ours_counts_as_none(since):
    assert open_page(f"?since={since}").since == ""


async def test_part_of_every_page_is_news_when_it_looks_different(part):
    page = open_page("?since=2&part=light:off")
    assert await page.news() == News("<b>on</b>", "2")
    assert await page.news() is None
    part.word = "off"
    assert await page.news() == News("<b>off</b>", "2")


async def test_part_is_added_to_other_news(part):
    news = await open_page("?since=1&part=light:off").news()
    assert news == News("<p>new</p><b>on</b>", "2")


async def test_page_that_does_not_say_how_a_part_looks_is_not_sent_it(part):
    assert await open_page("?since=2").news() is None
