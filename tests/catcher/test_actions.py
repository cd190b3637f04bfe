"""The buttons of a bin's page: protected against other sites, and none can be caught."""

import json
import re

import pytest
from django.test import AsyncClient, Client

from catcher.actions import DOWNLOADED_AT_ONCE
from catcher.models import LARGEST_ANSWER, Bin, Entry, change

HTML = {"Accept": "text/html"}
FORMS = ["new", "b/answer", "b/clear", "b/1/replay"]


@pytest.mark.parametrize("action", FORMS)
def test_form_of_another_site_does_nothing(transactional_db, action):
    response = Client(enforce_csrf_checks=True).post(f"/catcher/~/{action}", headers=HTML)
    assert response.status_code == 403
    assert not Bin.objects.exists()


@pytest.mark.parametrize("action", ["new", "b/clear", "b/1/replay"])
def test_link_does_nothing(client, caught, action):
    caught(b"hello")
    assert client.get(f"/catcher/~/{action}").status_code == 405
    assert Entry.objects.count() == 1


def test_new_bin_has_a_name_that_cannot_be_guessed(client, db):
    response = client.post("/catcher/~/new")
    assert response.status_code == 303
    name = re.fullmatch("/catcher/([0-9a-f]{32})/", response["Location"])[1]
    assert f'href="/catcher/{name}/"' in client.get("/catcher/").text


def test_clear_deletes_what_the_bin_has_caught(client, transactional_db):
    client.post("/catcher/b/")
    client.post("/catcher/other/")
    asked = client.post("/catcher/~/b/clear")
    assert "It has 1 request." in asked.text
    assert Entry.objects.count() == 2
    response = client.post("/catcher/~/b/clear", {"confirmed": "1"})
    assert (response.status_code, response["Location"]) == (303, "/catcher/b/")
    assert list(Entry.objects.values_list("bin", flat=True)) == ["other"]


def test_answer_is_chosen(client, transactional_db):
    form = {"status": "503", "delay_seconds": "0.5", "body": "  try\nlater"}
    assert client.post("/catcher/~/b/answer", form).status_code == 303
    chosen = Bin.objects.get()
    assert (chosen.name, chosen.status, chosen.delay_seconds) == ("b", 503, 0.5)
    assert chosen.body == "  try\nlater"


def test_form_shows_what_is_chosen(client, db):
    change([("b", {"status": 418, "body": "<b>tea"})])
    page = client.get("/catcher/~/b/answer").text
    assert 'value="418"' in page
    assert "&lt;b&gt;tea" in page


def test_empty_delay_is_none(client, transactional_db):
    client.post("/catcher/~/b/answer", {"status": "200"})
    assert Bin.objects.get().delay_seconds == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "100"),
        ("status", "600"),
        ("status", ""),
        ("status", "x"),
        ("delay_seconds", "31"),
        ("delay_seconds", "-1"),
        ("delay_seconds", "nan"),
        ("delay_seconds", "inf"),
        ("body", "x" * (LARGEST_ANSWER + 1)),
        ("body", "a\0b"),
    ],
)
def test_answer_that_cannot_be_is_refused_with_a_sentence(client, transactional_db, field, value):
    form = {"status": "200", "delay_seconds": "0", "body": ""} | {field: value}
    response = client.post("/catcher/~/b/answer", form)
    assert response.status_code == 400
    assert f'id="id_{field}_error"' in response.text
    assert not Bin.objects.exists()


def test_request_is_caught_again_by_its_own_bin(client, transactional_db):
    client.put("/catcher/b/x?y=1&status=500", b"hello", "text/plain", headers={"X-A": "1"})
    first = Entry.objects.get()
    change([("b", {"status": 201})])
    response = client.post(f"/catcher/~/b/{first.id}/replay")
    assert (response.status_code, response["Location"]) == (303, "/catcher/b/")
    again = Entry.objects.bin("b").first()
    assert again.id > first.id and again.at > first.at and again.replayed
    for field in ("bin", "method", "path", "headers", "body"):
        assert getattr(again, field) == getattr(first, field)
    assert "sent again" in client.get("/catcher/b/", headers=HTML).text


def test_request_of_another_bin_cannot_be_sent_again(client, caught):
    number = caught(b"hello", bin="other")
    assert client.post(f"/catcher/~/b/{number}/replay").status_code == 404
    assert Entry.objects.count() == 1


async def downloaded(name: str = "b") -> list:
    response = await AsyncClient().get(f"/catcher/~/{name}/requests.json")
    assert response["Content-Disposition"] == f'attachment; filename="{name}.json"'
    return json.loads(b"".join([part async for part in response.streaming_content]))


async def test_download_has_every_request_newest_first(transactional_db):
    total = 2 * DOWNLOADED_AT_ONCE + 1
    await Entry.objects.abulk_create(
        Entry(bin="b", method="POST", path=f"/{n}", body=b"") for n in range(total)
    )
    assert [record["path"] for record in await downloaded()] == [
        f"/{n}" for n in reversed(range(total))
    ]


async def test_download_of_an_empty_bin_is_an_empty_list(transactional_db):
    assert await downloaded() == []


async def test_download_has_text_as_text_and_bytes_as_base64(transactional_db):
    for body in (b"\xff", "wörld".encode()):
        await Entry.objects.acreate(bin="b", method="POST", path="/", body=body)
    text, binary = await downloaded()
    assert (text["body"], binary["body_base64"]) == ("wörld", "/w==")
