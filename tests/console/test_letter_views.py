"""Dead letters are retried and deleted: one, those selected, all of the filter."""

import re

import pytest

from broker.delivery import Outcome
from broker.models import DeadLetter
from tests.broker.letters import buried, waiting
from tests.console.conftest import landed

pytestmark = pytest.mark.django_db(transaction=True)


async def left() -> int:
    return await DeadLetter.objects.acount()


async def test_letters_are_listed_with_their_last_answer(visit):
    await buried(2, url="http://dead.test/")
    page = await visit.get("dead-letters")
    assert page.html.count("<bdi>http://dead.test/</bdi>") == 2
    assert "HTTP 500" in page.text and "2 dead letters" in page.text


async def test_none_is_said_in_words(visit):
    assert "No dead letters." in (await visit.get("dead-letters")).text


async def test_one_letter_is_retried(visit):
    first, _ = await buried(2)
    answer = await visit.post("dead-letters/take", do=f"retry:{first}")
    assert landed(answer) == ("/queue/dead-letters", "1 dead letter retried.")
    assert (await left(), len(await waiting())) == (1, 1)
    assert 'role="status"' in (await visit.follow(answer)).html


async def test_selected_letters_are_deleted(visit):
    first, second, _ = await buried(3)
    form = {"do": "delete:selected", "letter": [first, second]}
    answer = await visit.post("dead-letters/take", **form)
    assert landed(answer)[1] == "2 dead letters deleted."
    assert await left() == 1


@pytest.mark.parametrize("verb", ["retry", "delete"])
async def test_nothing_is_selected_and_nothing_is_done(visit, verb):
    await buried(1)
    answer = await visit.post("dead-letters/take", do=f"{verb}:selected", label="0")
    assert landed(answer) == ("/queue/dead-letters?label=0", "Select at least one message.")
    page = await visit.follow(answer)
    assert '<p class="notice problem" role="alert">' in page.html
    assert await left() == 1


async def test_letter_that_somebody_else_has_taken_is_a_problem(visit):
    (letter,) = await buried(1)
    await visit.post("dead-letters/take", do=f"delete:{letter}")
    answer = await visit.post("dead-letters/take", do=f"retry:{letter}")
    assert landed(answer)[1] == "No dead letter was retried: there was none any more."
    assert "not_done=" in answer.headers["Location"]


async def test_all_of_the_filter_are_taken_once_that_is_confirmed(visit):
    await buried(2, labels=",a,")
    await buried(1, labels=",b,")
    asked = await visit.post("dead-letters/take", do="delete:all", label="a")
    assert asked.status == 200 and await left() == 3
    assert "There are 2 now." in asked.text
    assert re.search('<input type="hidden" name="label" value="a">', asked.html)
    done = await visit.post("dead-letters/take", do="delete:all", label="a", confirmed="1")
    assert landed(done) == ("/queue/dead-letters?label=a", "2 dead letters deleted.")
    assert await left() == 1


async def test_filter_chooses_letters(visit):
    await buried(1, url="http://a.test/")
    await buried(1, url="http://b.test/")
    page = await visit.get("dead-letters", url="http://a.test/")
    assert "http://a.test/" in page.html and "<bdi>http://b.test/" not in page.html
    assert "1 dead letter that matches" in page.text


@pytest.mark.parametrize("do", ["", "burn:all", "retry", "delete:nonsense", "retry:1-1"])
async def test_odd_form_takes_nothing(visit, do):
    await buried(1)
    answer = await visit.post("dead-letters/take", do=do)
    assert answer.status in {303, 400}
    assert await left() == 1


async def test_hostile_letter_is_rendered_harmless(visit):
    evil = "<script>alert(1)</script>‮" + "B" * 10_000
    await buried(1, url=f"http://a.test/{evil}", labels=f",{evil},", method="<b>")
    page = await visit.get("dead-letters")
    assert "<script>alert" not in page.html and "<b>" not in page.html and "‮" not in page.html
    assert len(page.html) < 60_000


async def test_row_has_the_error_the_attempts_and_the_job(visit):
    body = b'{"job_id": "0a1b2c3d", "args": []}'
    outcome = Outcome(0, {}, b"", "the host cannot be found")
    await buried(1, outcome, body=body, retried=2)
    page = await visit.get("dead-letters")
    assert "3 attempts" in page.text and "the host cannot be found" in page.text
    assert 'href="/jobs/0a1b2c3d"' in page.html


async def test_row_has_the_answer_where_the_error_is_only_its_status(visit):
    secret = "s3cr3t-0123456789"
    answer = f'{{"why": "because", "token": "{secret}"}}'.encode()
    await buried(1, Outcome(489, {}, answer, "HTTP 489"), body=b'{"job_id": 7}')
    page = await visit.get("dead-letters")
    assert page.text.count("HTTP 489") == 1
    assert "1 attempt" in page.text and '"why": "because"' in page.text
    assert secret not in page.html and "/jobs/" not in page.html.partition("<main")[2]


def version(page) -> str:
    return page.html.partition('data-version="')[2].partition('"')[0]


async def changes(visit, since: str, **query: str):
    return await visit.get("dead-letters/changes", since=since, **query)


async def test_open_page_is_told_of_letters_that_come_and_go(visit):
    old, kept = await buried(2)
    since = version(await visit.get("dead-letters"))
    assert (await changes(visit, since)).status == 204
    (new,) = await buried(1, url="http://new.test/")
    await visit.post("dead-letters/take", do=f"delete:{old}")
    told = await changes(visit, since)
    assert 'hx-swap-oob="afterbegin:#letters"' in told.html and "http://new.test/" in told.html
    assert f'hx-swap-oob="delete:#l-{old}"' in told.html
    assert f'id="l-{kept}"' not in told.html and "2 dead letters" in told.text
    assert told.headers["Live-Version"] == f"{new}_{kept}"
    assert (await changes(visit, told.headers["Live-Version"])).status == 204


async def test_empty_page_is_told_of_the_first_letter_of_its_filter(visit):
    await buried(1, labels=",other,")
    assert (await changes(visit, "", label="a")).status == 204
    await buried(1, labels=",a,")
    assert 'hx-swap-oob="afterbegin:#letters"' in (await changes(visit, "", label="a")).html


@pytest.mark.parametrize("since", ["x", "1-", "'--", "1-1_", "<script>"])
async def test_version_that_is_none_breaks_nothing(visit, since):
    assert (await changes(visit, since)).status == 204


async def test_open_page_keeps_a_hundred_letters(visit, monkeypatch):
    monkeypatch.setattr("console.letter_views.MOST_ROWS", 2)
    first, second = await buried(2)
    (third,) = await buried(1)
    told = await changes(visit, f"{second}_{first}")
    assert f"delete:#l-{first}" in told.html
    assert told.headers["Live-Version"] == f"{third}_{second}"
