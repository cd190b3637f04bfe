"""A bin's newest requests as lines for another page."""

from html import unescape

from catcher.models import Entry

PANE = "/catcher/~/b/pane"


def fill(count: int) -> int:
    """Put requests into the bin `b`; the newest one's id."""
    paths = [f"/catcher/b/{number}" for number in range(count)]
    return [Entry.objects.create(bin="b", method="POST", path=path).id for path in paths][-1]


def test_pane_has_the_newest_ten_newest_first(client, transactional_db):
    fill(12)
    text = client.get(PANE).text
    assert text.count("<li>") == 10
    assert text.index("<span>/11<") < text.index("<span>/2<")
    assert "<span>/1<" not in text


def test_pane_without_news_is_not_sent_again(client, transactional_db):
    newest = fill(2)
    assert client.get(PANE, {"after": newest}).status_code == 204
    assert client.get(PANE, {"after": newest - 1}).status_code == 200


def test_pane_asks_again_with_what_it_has_shown(client, transactional_db):
    newest = fill(1)
    assert f'hx-get="{PANE}?after={newest}"' in client.get(PANE).text


def test_empty_pane_says_so_and_links_to_the_bin(client, transactional_db):
    text = client.get(PANE).text
    assert "Nothing yet." in text
    assert 'href="/catcher/b/"' in text


def test_pane_is_not_caught(client, transactional_db):
    client.get(PANE)
    assert not Entry.objects.exists()


def test_hostile_path_is_escaped(client, transactional_db):
    Entry.objects.create(bin="b", method="<b>", path="/catcher/b/<script>alert(1)</script>")
    text = client.get(PANE).text
    assert "<script" not in text
    assert "<b>" not in text


def test_line_says_what_tells_requests_apart(client, transactional_db):
    def keep(path: str, body: bytes, *headers: list[str]) -> None:
        Entry.objects.create(bin="b", method="POST", path=path, body=body, headers=headers)

    keep("/catcher/b/", b'{"hello": "world"}', ["Idempotency-Key", "0a1b2c3d-7"])
    keep("/catcher/b/?status=503", b"x" * 1000, ["Idempotency-Key", "8f14e45f"])
    keep("/catcher/b/", b"\0\xff")
    keep("/catcher/b", b"")
    text = unescape(client.get(PANE).text)
    assert '<span>step 7 { "hello": "world" }</span>' in text
    assert "<span>/?status=503 xxx" in text
    assert "<span>binary data</span>" in text and "<span>/</span>" in text
    assert len(text) < 2500
