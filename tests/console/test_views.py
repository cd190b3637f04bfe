"""The pages of messages: what they show, what they hide, and what they tell an open page."""

import pytest
from django.db.backends.utils import CursorWrapper

from broker.cancelling import cancel_now
from broker.models import Message, State
from groupcommit.writer import writer
from tests.console.conftest import Visit, delivered, landed, one_in_each_state, published

pytestmark = pytest.mark.django_db(transaction=True)


async def news(visit: Visit, since: str, path: str = "messages/changes", **query: str):
    return await visit.get(path, since=since, **query)


def version(page) -> str:
    return page.html.partition('data-version="')[2].partition('"')[0]


async def test_list_shows_every_state_and_counts_it(visit):
    ids = await one_in_each_state()
    page = await visit.get("messages")
    assert page.status == 200
    for state, message_id in ids.items():
        assert f'class="pill {state}"' in page.html
        assert f"/queue/messages/{message_id}" in page.html
        assert f'<span id="count-{state}" class="count">1</span>' in page.html
    assert '<span id="count-all" class="count">6</span>' in page.html


async def test_list_is_newest_first_and_filtered(visit):
    await one_in_each_state()
    page = await visit.get("messages")
    assert page.html.index("http://queued.test/") < page.html.index("http://running.test/")
    only = await visit.get("messages", state="running")
    assert "http://running.test/" in only.html and "http://queued.test/" not in only.html
    by_url = await visit.get("messages", url="http://queued.test/")
    assert "http://queued.test/" in by_url.html and "http://running.test/" not in by_url.html


async def test_empty_list_says_so(visit):
    assert "None yet." in (await visit.get("messages")).text
    assert "None that match." in (await visit.get("messages", label="x")).text


async def test_pages_say_whose_messages_they_show(visit):
    for path in ("messages", "dead-letters", "queues", "schedules", "url-groups"):
        page = await visit.get(path)
        assert page.text.count("Only messages of this site’s own account") == 1


async def test_filter_that_cannot_be_is_answered_in_words(visit):
    page = await visit.get("messages", **{"from": "yesterday"})
    assert page.status == 400
    assert "No such filter" in page.text
    assert "A moment is written 2026-11-25T10:30" in page.text


async def test_url_of_this_site_is_shown_as_a_path(visit):
    await published(url="http://testserver/api/long-task")
    await published(url="http://testserver.evil.test/api")
    page = await visit.get("messages")
    assert "<bdi>/api/long-task</bdi>" in page.html
    assert 'title="http://testserver/api/long-task"' in page.html
    assert "<bdi>http://testserver.evil.test/api</bdi>" in page.html


async def test_older_messages_are_behind_a_link(visit, monkeypatch):
    monkeypatch.setattr("console.search.PAGE", 2)
    for number in range(3):
        await published(url=f"http://n{number}.test/")
    page = await visit.get("messages")
    assert "http://n0.test/" not in page.html
    cursor = page.html.partition("cursor=")[2].partition('"')[0]
    older = await visit.get("messages", cursor=cursor)
    assert "http://n0.test/" in older.html and "http://n1.test/" not in older.html
    assert 'data-live="' not in older.html


async def test_open_page_is_told_of_new_and_changed_rows_only(visit):
    first = await published(url="http://first.test/")
    await published(url="http://second.test/")
    since = version(await visit.get("messages"))
    assert (await news(visit, since)).status == 204
    await published(url="http://third.test/")
    await writer.write(cancel_now, [first.pk])
    told = await news(visit, since)
    assert told.status == 200
    assert 'hx-swap-oob="afterbegin:#messages"' in told.html
    assert "http://third.test/" in told.html and "http://second.test/" not in told.html
    assert told.html.count('hx-swap-oob="true">') == 1 + 8  # the row, and the counts
    assert 'id="count-cancelled" class="count" hx-swap-oob="true">1<' in told.html
    assert (await news(visit, told.headers["Live-Version"])).status == 204


async def test_new_row_comes_where_it_belongs(visit):
    await published(url="http://old.test/")
    middle = await published(url="http://middle.test/")
    newest = await published(url="http://newest.test/")
    await Message.objects.filter(pk=middle.pk).aupdate(state=State.RETRY)
    since = version(await visit.get("messages", state="queued"))
    await Message.objects.filter(pk=middle.pk).aupdate(state=State.CREATED)
    told = await news(visit, since, state="queued")
    (above,) = [part.split(" ")[0] for part in since.split("_")][:1]
    assert f'hx-swap-oob="afterend:#m-{above.partition("-")[0]}"' in told.html
    assert "http://middle.test/" in told.html and newest.url not in told.html


async def test_row_that_matches_no_longer_stays_with_its_new_state(visit):
    message = await published()
    since = version(await visit.get("messages", state="queued"))
    await writer.write(cancel_now, [message.pk])
    told = await news(visit, since, state="queued")
    assert 'class="pill cancelled"' in told.html
    assert "delete:" not in told.html


async def test_open_page_keeps_a_hundred_rows(visit, monkeypatch):
    monkeypatch.setattr("console.views.MOST_ROWS", 2)
    for _ in range(2):
        await published()
    since = version(await visit.get("messages"))
    await published()
    told = await news(visit, since)
    assert f'hx-swap-oob="delete:#m-{since.split("_")[-1].partition("-")[0]}"' in told.html
    assert told.headers["Live-Version"].count("_") == 1


@pytest.mark.parametrize("since", ["x", "1-", "'--", "zzzzzzzzzzzzz-queued1", "<script>"])
async def test_version_that_is_none_breaks_nothing(visit, since):
    assert (await news(visit, since)).status == 204


async def test_empty_page_is_told_of_the_first_message(visit):
    since = version(await visit.get("messages"))
    assert since == ""
    await published(url="http://first.test/")
    assert "http://first.test/" in (await news(visit, since)).html


async def test_one_message_is_shown_with_attempts_request_response_and_claims(visit):
    message = await delivered(
        500, b'{"why":"because"}', url="http://a.test/?b=c", body=b'{"hello":"world"}', label="one"
    )
    page = await visit.get(f"messages/{message.message_id}")
    assert page.status == 200
    for words in ("attempt 1: HTTP 500", '"hello": "world"', "HTTP 500", '{"why":"because"}'):
        assert words.replace(" ", "") in page.text.replace(" ", ""), words
    assert "iss Upstash" in page.text and "sub http://a.test/?b=c" in page.text
    assert "curl -X POST 'http://a.test/?b=c'" in page.text
    assert "one" in page.text


async def test_secrets_of_a_message_are_nowhere_on_its_page(visit, settings):
    secret = "s3cr3t-0123456789"
    message = await published(
        url=f"http://user:{secret}@a.test/?token={secret}",
        body=f'{{"headers": {{"Authorization": "Bearer {secret}"}}}}'.encode(),
        forward_authorization=f"Bearer {secret}",
        forward_cookie=f"session={secret}",
        forward_x_note=f"{settings.BROKER_TOKEN} {settings.QSTASH_CURRENT_SIGNING_KEY}",
        callback=f"http://b.test/?api_key={secret}",
    )
    for page in (await visit.get(f"messages/{message.message_id}"), await visit.get("messages")):
        assert page.status == 200
        assert secret not in page.html
        assert settings.BROKER_TOKEN not in page.html
        assert settings.QSTASH_CURRENT_SIGNING_KEY not in page.html


async def test_open_message_is_told_of_its_end(visit):
    message = await published()
    path = f"messages/{message.message_id}"
    since = version(await visit.get(path))
    assert (await news(visit, since, f"{path}/changes")).status == 204
    await writer.write(cancel_now, [message.pk])
    told = await news(visit, since, f"{path}/changes")
    assert 'class="pill cancelled"' in told.html and "<form" not in told.html


async def test_waiting_message_is_cancelled_by_a_button(visit):
    message = await published()
    path = f"messages/{message.message_id}"
    assert f"/queue/{path}/cancel" in (await visit.get(path)).html
    answer = await visit.post(f"{path}/cancel")
    assert (answer.status, landed(answer)) == (303, (f"/queue/{path}", "Message cancelled."))
    page = await visit.follow(answer)
    assert "Message cancelled." in page.text and f"{path}/cancel" not in page.html
    again = await visit.post(f"{path}/cancel")
    assert landed(again)[1] == "This message cannot be cancelled: it is over."


@pytest.mark.parametrize("name", ["msg_none", "x" * 500, "a'b", "%00", "..", "<script>"])
async def test_unknown_message_is_not_found(visit, name):
    assert (await visit.get(f"messages/{name}")).status == 404


@pytest.mark.parametrize("page", ["messages", "messages?label=a", "messages?url=http://a.test/"])
async def test_list_makes_the_same_number_of_queries_however_many_there_are(
    visit, page, monkeypatch
):
    monkeypatch.setattr("console.queue_status.FRESH_SECONDS", 3600)  # the head of every page
    assert (await visit.get(page)).status == 200
    numbers = []
    for _ in range(2):
        for _ in range(20):
            await published(label="a")
        numbers.append(await count_queries(visit, page, monkeypatch))
    assert numbers[0] == numbers[1] <= 25


async def count_queries(visit: Visit, page: str, monkeypatch) -> int:
    """How many queries a page makes, in whichever threads."""
    made: list[str] = []
    execute = CursorWrapper.execute

    def counted(self, sql, params=None):
        made.append(sql)
        return execute(self, sql, params)

    with monkeypatch.context() as patch:
        patch.setattr(CursorWrapper, "execute", counted)
        assert (await visit.get(page)).status == 200
    return len([sql for sql in made if sql.lstrip().startswith("SELECT")])


HOSTILE = "<img src=x onerror=alert(1)>'\"&‮\u2066" + "A" * 10_000


async def test_hostile_message_is_rendered_harmless(visit):
    message = await delivered(500, HOSTILE.encode(), body=HOSTILE.encode())
    evil = HOSTILE[:200]
    await Message.objects.filter(pk=message.pk).aupdate(
        url=f"http://a.test/{HOSTILE}",
        header={"X-<b>Name</b>": [evil], evil: [evil]},
        labels=f",{evil},",
        queue_name=evil,
        schedule_id=evil,
        callback=evil,
        method="<b>",
    )
    for path in ("messages", f"messages/{message.message_id}"):
        page = await visit.get(path)
        assert page.status == 200
        assert "<img" not in page.html and "<b>" not in page.html
        assert "‮" not in page.html and "\u2066" not in page.html
        assert len(page.html) < 200_000


@pytest.mark.parametrize(
    "body",
    [b"[" * 60_000 + b"]" * 60_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"\0\xff" * 500_000],
    ids=["deep list", "deep object", "binary"],
)
async def test_large_or_deep_body_is_bounded(visit, body):
    message = await published(body=body)
    page = await visit.get(f"messages/{message.message_id}")
    assert page.status == 200
    assert len(page.html) < 500_000
