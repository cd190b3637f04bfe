"""A bin's newest requests as lines of another page."""

from asgiref.sync import async_to_sync

from catcher.models import Entry
from catcher.pane import pane_of


def pane() -> str:
    """What a page is told."""
    part = pane_of("b")
    async_to_sync(part.version)()
    return part.render()


def fill(count: int) -> int:
    """Put requests into the bin `b`; the newest one's id."""
    paths = [f"/catcher/b/{number}" for number in range(count)]
    return [Entry.objects.create(bin="b", method="POST", path=path).id for path in paths][-1]


def test_pane_has_the_newest_ten_newest_first(transactional_db):
    fill(12)
    text = pane()
    assert text.count("<li>") == 10
    assert text.index("/catcher/b/11") < text.index("/catcher/b/2")
    assert "/catcher/b/1<" not in text


def test_pane_comes_with_a_pages_other_news_when_something_was_caught(client, transactional_db):
    newest = fill(2)
    since, part = "0-00", f"caught/b:{newest - 1}"
    response = client.get("/jobs/changes", {"since": since, "part": part})
    assert f'data-live-part="caught/b:{newest}"' in response.text
    since, part = response["Live-Version"], f"caught/b:{newest}"
    assert client.get("/jobs/changes", {"since": since, "part": part}).status_code == 204


def test_pane_is_looked_at_when_its_bin_changes():
    assert pane_of("b").topic == "bin:b"


def test_empty_pane_says_so_and_links_to_the_bin(transactional_db):
    text = pane()
    assert "Nothing yet." in text
    assert 'href="/catcher/b/"' in text


def test_hostile_path_is_escaped(transactional_db):
    Entry.objects.create(bin="b", method="<b>", path="/catcher/b/<script>alert(1)</script>")
    text = pane()
    assert "<script" not in text
    assert "<b>" not in text
