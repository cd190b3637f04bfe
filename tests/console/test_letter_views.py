"""Dead letters are retried and deleted: one, those selected, all of the filter."""

import re

import pytest

from broker.models import DeadLetter
from tests.broker.letters import buried, waiting

pytestmark = pytest.mark.django_db(transaction=True)


async def left() -> int:
    return await DeadLetter.objects.acount()


async def test_letters_are_listed_with_their_last_answer(visit):
    await buried(2, url="http://dead.test/")
    page = await visit.get("dead-letters")
    assert page.html.count("http://dead.test/") == 2
    assert "HTTP 500" in page.text and "2 dead letters" in page.text


async def test_none_is_said_in_words(visit):
    assert "Every message has arrived so far." in (await visit.get("dead-letters")).text


async def test_one_letter_is_retried(visit):
    first, _ = await buried(2)
    answer = await visit.post("dead-letters/take", do=f"retry:{first}")
    assert answer.headers["Location"] == "/queue/dead-letters?&done=retried-1"
    assert (await left(), len(await waiting())) == (1, 1)
    assert "1 retried." in (await visit.get("dead-letters", done="retried-1")).text


async def test_selected_letters_are_deleted(visit):
    first, second, _ = await buried(3)
    await visit.post("dead-letters/take", do="delete:selected", letter=[first, second])
    assert await left() == 1


async def test_nothing_is_selected_and_nothing_is_done(visit):
    await buried(1)
    answer = await visit.post("dead-letters/take", do="delete:selected")
    assert answer.headers["Location"].endswith("done=deleted-0")
    assert await left() == 1


async def test_all_of_the_filter_are_taken_once_that_is_confirmed(visit):
    await buried(2, labels=",a,")
    await buried(1, labels=",b,")
    asked = await visit.post("dead-letters/take", do="delete:all", label="a")
    assert asked.status == 200 and await left() == 3
    assert "There are 2 now." in asked.text
    assert re.search('<input type="hidden" name="label" value="a">', asked.html)
    done = await visit.post("dead-letters/take", do="delete:all", label="a", confirmed="1")
    assert done.headers["Location"] == "/queue/dead-letters?label=a&done=deleted-2"
    assert await left() == 1


async def test_filter_chooses_letters(visit):
    await buried(1, url="http://a.test/")
    await buried(1, url="http://b.test/")
    page = await visit.get("dead-letters", url="http://a.test/")
    assert "http://a.test/" in page.html and "<bdi>http://b.test/" not in page.html
    assert "1 dead letter that match" in page.text


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
