"""The visitor's list, a bin's page, one request beside it, and what is new."""

import json
import re

import pytest
from django.test import Client

from catcher.models import KEPT, Entry, Version, change, clear, version_of
from jobs.models import Job

HTML = {"Accept": "text/html"}


def news(client, since: object):
    return client.get(f"/catcher/~/b/changes?since={since}", headers={"HX-Request": "true"})


def test_list_has_the_visitors_own_bin_and_its_number_of_requests(client, caught):
    client.get("/catcher/")
    own = client.session["bin"]
    caught(b"1", b"2", bin=own)
    page = client.get("/catcher/").text
    assert f'href="/catcher/{own}/"' in page
    assert "2 requests" in page


def test_own_bin_is_where_the_visitors_jobs_send(client, transactional_db):
    client.post("/jobs/start")
    assert client.session["bin"] in client.get("/catcher/").text
    assert Job.objects.get().args == [f"http://testserver/catcher/{client.session['bin']}/"]


def test_visitor_who_saw_the_catcher_first_has_one_bin_too(client, transactional_db):
    client.get("/catcher/")
    own = client.session["bin"]
    client.post("/jobs/start")
    assert Job.objects.get().args == [f"http://testserver/catcher/{own}/"]


def test_another_visitor_has_another_bin(client, db):
    other = Client()
    for visitor in (client, other):
        visitor.get("/catcher/")
    assert client.session["bin"] != other.session["bin"]


@pytest.mark.parametrize(("method", "status"), [("head", 200), ("post", 405)])
def test_list_is_only_shown(client, db, method, status):
    assert getattr(client, method)("/catcher/").status_code == status


def test_ten_alike_take_ten_rows(client, caught):
    caught(*[b'{"hello":"world"}'] * 10, headers=[["X-A", "1"]])
    page = client.get("/catcher/b/", headers=HTML).text
    assert page.count('<a id="request-') == 10
    assert page.count("<dt>X-A</dt>") == 1
    assert "10 requests" in page


def test_newest_is_open_unless_another_is_asked_for(client, caught):
    older, newest = caught(b"the older"), caught(b"the newest")
    for query, number, body in (("", newest, "newest"), (f"?request={older}", older, "older")):
        page = client.get(f"/catcher/b/{query}", headers=HTML).text
        assert f'data-request="{number}"' in page
        assert re.search(rf'id="request-{number}"[^>]*aria-current="true"', page)
        assert f'aria-label="Body">the {body}</pre>' in page


@pytest.mark.parametrize("asked", ["0", "999999", "-1", "²", "9" * 30, "x"])
def test_request_that_is_none_says_so(client, caught, asked):
    caught(b"hello")
    page = client.get("/catcher/b/", {"request": asked}, headers=HTML)
    assert page.status_code == 200


def test_request_of_another_bin_is_not_shown(client, caught):
    number = caught(b"private", bin="other")
    for path in (f"/catcher/~/b/{number}", f"/catcher/~/b/{number}/body"):
        assert client.get(path).status_code == 404
    assert "private" not in client.get(f"/catcher/b/?request={number}", headers=HTML).text


def test_request_is_put_beside_the_list(client, caught):
    number = caught(b"hello", path="/catcher/b/x")
    answer = client.get(f"/catcher/~/b/{number}", headers={"HX-Request": "true"}).text
    assert f'data-request="{number}"' in answer
    assert "<html" not in answer
    assert "POST /x is shown." in answer


def test_body_is_downloaded_as_it_came(client, caught):
    number = caught(b"<script>\xff")
    response = client.get(f"/catcher/~/b/{number}/body")
    assert response.content == b"<script>\xff"
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("fits", "words"), [(True, "signature fits"), (False, "signature does not fit")]
)
def test_verdict_is_told(client, caught, fits, words):
    caught(b"hello", signature_fits=fits, verdict="" if fits else "the body is &lt;another")
    page = client.get("/catcher/b/", headers=HTML).text
    assert f"<strong>{words}</strong>" in page
    assert ("the body is &amp;lt;another" in page) != fits


def test_request_without_a_signature_gets_no_verdict(client, caught):
    caught(b"hello")
    assert "signature" not in client.get("/catcher/b/", headers=HTML).text


def test_page_without_a_chosen_request_refreshes_itself_without_a_script(client, caught):
    number = caught(b"hello")
    refresh = '<noscript><meta http-equiv="refresh"'
    assert refresh in client.get("/catcher/b/", headers=HTML).text
    assert refresh not in client.get(f"/catcher/b/?request={number}", headers=HTML).text


def test_page_of_a_full_bin_is_a_bounded_number_of_queries(
    client, db, django_assert_max_num_queries, monkeypatch
):
    monkeypatch.setattr("console.queue_status.FRESH_SECONDS", 3600)  # the head of every page
    rows = [Entry(bin="b", method="POST", path="/", body=b"x" * 100) for _ in range(KEPT)]
    Entry.objects.bulk_create(rows)
    client.get("/catcher/b/", headers=HTML)
    with django_assert_max_num_queries(10):
        page = client.get("/catcher/b/", headers=HTML).text
    assert page.count('<a id="request-') == KEPT


def test_page_without_news_is_told_nothing(client, caught):
    caught(b"seen")
    response = news(client, version_of("b"))
    assert (response.status_code, response.content) == (204, b"")


def test_only_new_rows_are_added(client, caught):
    seen_id = caught(b"seen")
    seen = version_of("b")
    new_id = caught(b"new")
    response = news(client, seen)
    assert response["Live-Version"] == str(version_of("b"))
    assert f'id="request-{new_id}"' in response.text
    assert f'id="request-{seen_id}"' not in response.text
    assert 'hx-swap-oob="afterbegin:#entries"' in response.text
    assert "2 requests" in response.text


@pytest.mark.parametrize("look", ["page", "news"])
def test_request_that_comes_while_the_rows_are_read_is_shown_once(
    client, caught, monkeypatch, look
):
    """It was shown twice: the rows had it, and the news after their version brought it again."""
    before = version_of("b")
    caught(b"early")
    version = version_of("b")

    def version_then_another(name: str) -> Version:
        caught(b"late")
        return version

    with monkeypatch.context() as patch:
        patch.setattr("catcher.pages.version_of", version_then_another)
        page = look == "page"
        first = client.get("/catcher/b/", headers=HTML) if page else news(client, before)
    rows = re.findall('id="request-([0-9]+)"', first.text + news(client, version).text)
    assert sorted(map(int, rows)) == sorted(Entry.objects.values_list("id", flat=True))


def test_news_leave_alone_what_is_open(client, caught):
    caught(b"seen")
    seen = version_of("b")
    caught(b"new")
    text = news(client, seen).text
    assert 'id="detail"' not in text
    assert 'id="answer"' not in text


def test_first_request_is_opened(client, caught):
    seen = version_of("b")
    number = caught(b"first")
    assert f'data-request="{number}"' in news(client, seen).text


def test_clearing_empties_open_pages(client, caught):
    caught(b"seen")
    seen = version_of("b")
    clear(["b"])
    text = news(client, seen).text
    assert 'hx-swap-oob="innerHTML:#entries"></ol>' in re.sub(r"\s+<", "<", text)
    assert "Send something" in text


def test_requests_after_a_clearing_replace_the_list(client, caught):
    caught(b"seen", b"seen")
    seen = version_of("b")
    clear(["b"])
    caught(b"new")
    assert 'hx-swap-oob="innerHTML:#entries"' in news(client, seen).text


def test_request_that_was_committed_late_replaces_the_list(client, caught):
    late = caught(b"late")
    newest = caught(b"newest")
    text = news(client, Version(newest, 1, 0)).text
    assert 'hx-swap-oob="innerHTML:#entries"' in text
    assert f'id="request-{late}"' in text


def test_full_bin_grows_by_its_new_rows(client, transactional_db):
    rows = [Entry(bin="b", method="POST", path="/", body=b"") for _ in range(KEPT)]
    Entry.objects.bulk_create(rows)
    seen = version_of("b")
    client.post("/catcher/b/")
    text = news(client, seen).text
    assert 'hx-swap-oob="afterbegin:#entries"' in text
    assert text.count('<a id="request-') == 1


def test_changed_answer_reaches_open_pages(client, caught):
    caught(b"seen")
    seen = version_of("b")
    change([("b", {"status": 503, "delay_seconds": 2.5, "body": "no"})])
    text = " ".join(news(client, seen).text.split())
    assert "Answers 503 after 2.5 s with a body of its own, 2 characters." in text


@pytest.mark.parametrize("since", ["", "no", "1", "-1-1-1", "9" * 60])
def test_strange_version_gets_everything(client, caught, since):
    number = caught(b"hello")
    assert f'id="request-{number}"' in news(client, since).text


def test_headers_are_json_pairs_in_the_page(client, caught):
    caught(b"", headers=json.loads('[["X-<b>", "<i>"]]'))
    assert "<dt>X-&lt;b&gt;</dt><dd>&lt;i&gt;</dd>" in client.get("/catcher/b/", headers=HTML).text
