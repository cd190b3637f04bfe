"""Every request is kept, and shown to anyone who knows the bin's name."""

import asyncio
import re

import pytest
from django.test import AsyncClient, Client

from catcher.models import KEPT, LARGEST_BODY, Entry

HTML = {"Accept": "text/html,application/xhtml+xml"}
# What htmx 2 sends from the bin's own page.
HTMX = {"HX-Request": "true", "Accept": "*/*"}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "A-METHOD-OF-20-CHRS"]


@pytest.fixture
def caught(db):
    """Put requests into the bin `b`; the newest one's id."""

    def caught(*bodies: bytes, **fields) -> int:
        given = {"bin": "b", "method": "POST", "path": "/catcher/b/"} | fields
        return [Entry.objects.create(body=body, **given).id for body in bodies][-1]

    return caught


@pytest.mark.parametrize("method", METHODS)
def test_any_method_is_caught(client, transactional_db, method):
    response = client.generic(method, "/catcher/b/some/path?x=%2F", b"hello", "text/plain")
    entry = Entry.objects.get()
    assert (response.status_code, response.json()) == (200, {"caught": True})
    assert (entry.bin, entry.method, bytes(entry.body)) == ("b", method[:16], b"hello")
    assert entry.path == "/catcher/b/some/path?x=%2F"


def test_headers_are_kept(client, transactional_db):
    client.post("/catcher/b/", b"{}", "application/json", headers={"Idempotency-Key": "j-1"})
    headers = dict(Entry.objects.get().headers)
    assert (headers["Idempotency-Key"], headers["Content-Type"]) == ("j-1", "application/json")


def test_other_sites_need_no_csrf_token(transactional_db):
    assert Client(enforce_csrf_checks=True).post("/catcher/b/").status_code == 200


def test_body_is_cut_at_64_kib(client, transactional_db):
    client.post("/catcher/b/", b"x" * (LARGEST_BODY + 1), "text/plain")
    entry = Entry.objects.get()
    assert (len(entry.body), entry.truncated) == (LARGEST_BODY, True)


def test_body_of_64_kib_is_whole(client, transactional_db):
    client.post("/catcher/b/", b"x" * LARGEST_BODY, "text/plain")
    assert not Entry.objects.get().truncated


@pytest.mark.parametrize("status", [200, 201, 404, 500, 599])
def test_status_asked_for_is_answered(client, transactional_db, status):
    assert client.post(f"/catcher/b/?status={status}").status_code == status
    assert Entry.objects.exists()


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_a_body_has_none(client, transactional_db, status):
    response = client.post(f"/catcher/b/?status={status}")
    assert (response.status_code, response.content) == (status, b"")


@pytest.mark.parametrize("status", ["100", "600", "0200", "no", "", "²00", "-1", "2" * 5000])
def test_status_that_is_none_is_refused(client, status):
    response = client.post("/catcher/b/", query_params={"status": status})
    assert (response.status_code, list(response.json())) == (400, ["error"])


async def test_requests_at_once_are_all_caught(transactional_db):
    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(AsyncClient().post(f"/catcher/b/{number}"))
    assert await Entry.objects.bin("b").acount() == 10


def test_the_newest_five_hundred_are_kept(client, transactional_db):
    rows = [Entry(bin=name, method="POST", path="/", body=b"") for name in "ab" * (KEPT + 3)]
    Entry.objects.bulk_create(rows)
    client.post("/catcher/b/the-last")
    assert Entry.objects.bin("b").count() == KEPT
    assert Entry.objects.bin("b").first().path == "/catcher/b/the-last"
    assert Entry.objects.bin("a").count() == KEPT + 3


def test_browser_sees_the_bin_newest_first(client, caught):
    caught(b"the first", b"the second")
    page = client.get("/catcher/b/", headers=HTML).text
    assert page.index("the second") < page.index("the first")
    assert Entry.objects.count() == 2


def test_bin_shows_only_its_own(client, caught):
    caught(b"somebody else's", bin="other")
    assert "somebody else" not in client.get("/catcher/b/", headers=HTML).text


def test_browser_below_the_root_is_caught(client, transactional_db):
    client.get("/catcher/b/below", headers=HTML)
    assert Entry.objects.get().path == "/catcher/b/below"


def test_page_asks_for_what_came_after_its_newest(client, caught):
    newest = caught(b"one", b"two")
    page = client.get("/catcher/b/", headers=HTML).text
    assert f'hx-get="/catcher/b/?after={newest}"' in page


def test_poll_gets_only_what_is_new(client, caught):
    seen, newest = caught(b"seen"), caught(b"new")
    news = client.get(f"/catcher/b/?after={seen}", headers=HTMX).text
    assert ("new" in news, "seen" in news) == (True, False)
    assert f"?after={newest}" in news


def test_poll_without_news_is_empty(client, caught):
    newest = caught(b"seen")
    response = client.get(f"/catcher/b/?after={newest}", headers=HTMX)
    assert (response.status_code, response.content) == (204, b"")


def test_poll_of_the_page_is_not_caught_itself(client, caught):
    caught(b"seen")
    client.get("/catcher/b/?after=0", headers=HTMX)
    assert Entry.objects.count() == 1


@pytest.mark.parametrize("after", ["", "no", "-1", "²", "9" * 30])
def test_strange_after_shows_everything(client, caught, after):
    caught(b"hello")
    response = client.get("/catcher/b/", headers=HTMX, query_params={"after": after})
    assert "hello" in response.text


def test_html_in_a_body_is_only_text(client, caught):
    caught(b"<script>alert(1)</script>", path="/catcher/b/<b>", headers=[["X<i>", "<u>"]])
    page = client.get("/catcher/b/", headers=HTML).text
    assert "&lt;script&gt;alert(1)" in page
    assert not re.search("<script>|<b>|<i>|<u>", page)


def test_json_is_shown_indented(client, caught):
    caught(b'{"hello":"w\xc3\xb6rld"}')
    page = client.get("/catcher/b/", headers=HTML).text
    assert "{\n  &quot;hello&quot;: &quot;wörld&quot;\n}" in page


@pytest.mark.parametrize("body", [b"\xff\x00", b'"\\ud800"', b"[" * 60_000, b"9" * 5000, b""])
def test_no_body_can_break_the_page(client, caught, body):
    caught(body)
    assert client.get("/catcher/b/", headers=HTML).status_code == 200


def test_cut_body_is_marked(client, caught):
    caught(b"x", truncated=True)
    assert "Cut at 64 KiB" in client.get("/catcher/b/", headers=HTML).text


@pytest.mark.parametrize(
    "name", ["", "%00", "..", "a%00b", "%3Cscript%3E", "a b", "ü", "x" * 65, "a%0A"]
)
def test_hostile_name_is_not_found(client, name):
    assert client.post(f"/catcher/{name}/", b"x", "text/plain").status_code == 404


@pytest.mark.parametrize("name", ["x" * 64, "A-b_9"])
def test_reasonable_name_is_a_bin(client, transactional_db, name):
    assert client.post(f"/catcher/{name}/").status_code == 200
    assert Entry.objects.get().bin == name
