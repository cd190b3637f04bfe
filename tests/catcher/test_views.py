"""Every request is kept, and shown to anyone who knows the bin's name."""

import asyncio
import re
import time
from urllib.parse import quote

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as site_settings
from django.test import AsyncClient, Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.signing import sign
from catcher.models import KEPT, LARGEST_BODY, Entry, change

HTML = {"Accept": "text/html,application/xhtml+xml"}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "A-METHOD-OF-20-CHRS"]
# What may be in the places where a server hands over bytes as it finds them.
HOSTILE = st.text(st.characters(exclude_categories=[]), max_size=200)
LATIN = st.text(st.characters(max_codepoint=255), max_size=200)


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


@pytest.mark.parametrize("method", METHODS)
def test_bin_without_a_slash_catches_too(client, transactional_db, method):
    response = client.generic(method, "/catcher/b?x=1", b"hello", "text/plain")
    assert (response.status_code, response.json()) == (200, {"caught": True})
    assert Entry.objects.get().path == "/catcher/b?x=1"


def test_browser_without_the_slash_is_led_to_the_page(client, db):
    response = client.get("/catcher/b", headers=HTML)
    assert (response.status_code, response["Location"]) == (302, "/catcher/b/")


def test_head_is_caught_and_answered_without_a_body(client, transactional_db):
    response = client.head("/catcher/b/?status=418", headers=HTML)
    assert (response.status_code, response.content) == (418, b"")
    assert Entry.objects.get().method == "HEAD"


@pytest.mark.parametrize("name", ["x" * 65, "a b", "~", "~/b/nothing", "b%0A"])
def test_name_that_is_none_is_told_to_programs_in_json(client, name):
    response = client.post(f"/catcher/{name}", b"x", "text/plain")
    assert (response.status_code, response["Content-Type"]) == (404, "application/json")


def test_path_with_a_line_break_is_caught(client, transactional_db):
    assert client.post("/catcher/b/a%0Ab").status_code == 200
    assert Entry.objects.get().path == "/catcher/b/a%0Ab"


def test_query_of_two_thousand_parts_is_caught(client, transactional_db):
    assert client.post(f"/catcher/b/?{'x&' * 2000}status=201").status_code == 201


def test_secrets_are_not_stored(client, transactional_db):
    client.post("/catcher/b/", headers={"Authorization": "Bearer hush", "Cookie": "sessionid=hush"})
    headers = dict(Entry.objects.get().headers)
    assert "hush" not in str(headers)
    assert headers["Authorization"].startswith("Bearer ")


def test_bin_answers_what_it_was_told_to(client, transactional_db):
    change([("b", {"status": 503, "body": "try later"})])
    response = client.post("/catcher/b/")
    assert (response.status_code, response.content) == (503, b"try later")
    assert client.post("/catcher/b/?status=201").status_code == 201
    assert client.post("/catcher/other/").json() == {"caught": True}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ('{"a": 1}', "application/json"),
        ("<script>alert(1)</script>", "text/plain; charset=utf-8"),
    ],
)
def test_answer_is_never_html(client, transactional_db, body, kind):
    change([("b", {"body": body})])
    response = client.get("/catcher/b/")
    assert (response["Content-Type"], response["X-Content-Type-Options"]) == (kind, "nosniff")


async def test_delay_holds_up_nobody_else(transactional_db):
    """A request waits for half a minute at most; the others are answered meanwhile."""
    await sync_to_async(change)([("slow", {"delay_seconds": 1e9})])
    slow = asyncio.create_task(AsyncClient().post("/catcher/slow/"))
    for number in range(20):
        assert (await AsyncClient().post(f"/catcher/quick/{number}")).status_code == 200
    while not await Entry.objects.filter(bin="slow").aexists():
        await asyncio.sleep(0.01)
    assert not slow.done()
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow


async def test_delay_is_waited_for(transactional_db):
    await sync_to_async(change)([("b", {"delay_seconds": 0.2, "body": "late"})])
    started = time.monotonic()
    assert (await AsyncClient().post("/catcher/b/")).text == "late"
    assert time.monotonic() - started >= 0.2


def signed_for(url: str, body: bytes) -> dict[str, str]:
    key = site_settings.QSTASH_CURRENT_SIGNING_KEY
    return {"Upstash-Signature": sign(url, body, key, int(time.time()))}


def test_signature_is_verified_when_the_request_comes(client, transactional_db):
    headers = signed_for("http://testserver/catcher/b/x?y=1", b"hello")
    client.post("/catcher/b/x?y=1", b"hello", "text/plain", headers=headers)
    client.post("/catcher/b/x?y=2", b"hello", "text/plain", headers=headers)
    client.post("/catcher/b/x?y=1", b"hello", "text/plain")
    told = list(Entry.objects.order_by("id").values_list("signature_fits", flat=True))
    assert told == [True, False, None]


def test_signature_of_a_body_that_is_cut_is_verified_as_a_whole(client, transactional_db):
    body = b"x" * (2 * LARGEST_BODY)
    headers = signed_for("http://testserver/catcher/b/", body)
    client.post("/catcher/b/", body, "text/plain", headers=headers)
    entry = Entry.objects.get()
    assert (entry.signature_fits, entry.truncated, len(entry.body)) == (True, True, LARGEST_BODY)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    method=LATIN,
    path=HOSTILE,
    query=LATIN,
    header=st.tuples(st.from_regex("[A-Z_]{1,30}", fullmatch=True), LATIN),
    signature=LATIN,
    content_type=LATIN,
    body=st.binary(max_size=500),
)
def test_no_request_gets_a_500(
    client, transactional_db, method, path, query, header, signature, content_type, body
):
    """What a server may hand over; and what is caught can then be shown."""
    extra = {
        "QUERY_STRING": query,
        f"HTTP_{header[0]}": header[1],
        "HTTP_UPSTASH_SIGNATURE": signature,
        "CONTENT_TYPE": content_type,
    }
    url = f"/catcher/b/{quote(path, errors='surrogatepass')}"
    answer = client.generic(method or "X", url, body, **extra)
    assert answer.status_code < 500
    assert client.get("/catcher/b/", headers=HTML).status_code == 200
