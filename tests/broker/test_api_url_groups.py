"""`/v2/topics`: endpoints come and go, options become defaults, and publishing uses both."""

import asyncio

import pytest

from broker.clock import now_ms
from broker.models import Message, UrlGroup
from tests.broker.calls import ask

pytestmark = pytest.mark.django_db(transaction=True)
# Nothing is written, so no table has to be emptied.
refusal = pytest.mark.django_db

A, B, C = "https://a.test/", "https://b.test/", "https://c.test/"
OTHER = {"token": "other-token", "current": "sig_a", "next": "sig_b"}


@pytest.fixture
def other_token(settings) -> str:
    settings.BROKER_ACCOUNTS = settings.BROKER_ACCOUNTS | {"other": OTHER}
    return OTHER["token"]


async def add(*endpoints: dict[str, str], group: str = "g") -> None:
    answer = await ask("POST", f"topics/{group}/endpoints", {"endpoints": endpoints})
    assert (answer.status, answer.json) == (200, {})


async def remove(*endpoints: dict[str, str]) -> int:
    return (await ask("DELETE", "topics/g/endpoints", {"endpoints": endpoints})).status


async def endpoints() -> list[dict[str, str]]:
    return (await ask("GET", "topics/g")).json["endpoints"]


async def test_new_group_is_shown_with_its_endpoints():
    before = now_ms()
    await add({"url": A, "name": "a"}, {"url": B})
    group = (await ask("GET", "topics/g")).json
    assert before <= group.pop("createdAt") <= group.pop("updatedAt") <= now_ms()
    assert group == {"name": "g", "endpoints": [{"url": A, "name": "a"}, {"url": B}]}


async def test_groups_are_listed_in_order_of_creation():
    for group in ("b", "a"):
        await add({"url": A}, group=group)
    for path in ("topics", "topics/"):
        assert [group["name"] for group in (await ask("GET", path)).json] == ["b", "a"]


async def test_endpoint_of_the_same_name_gets_the_new_url():
    await add({"url": A, "name": "a"})
    await add({"url": B, "name": "a"})
    assert await endpoints() == [{"url": B, "name": "a"}]


async def test_endpoint_of_the_same_url_gets_the_new_name():
    await add({"url": A}, {"url": A, "name": "a"}, {"url": A})
    assert await endpoints() == [{"url": A, "name": "a"}]


async def test_endpoints_are_removed_by_name_or_url():
    await add({"url": A, "name": "a"}, {"url": B}, {"url": C, "name": "c"})
    assert await remove({"name": "a"}, {"url": B}, {"url": "https://unknown.test/"}) == 200
    assert await endpoints() == [{"url": C, "name": "c"}]


async def test_last_endpoint_takes_the_group_along():
    await add({"url": A}, {"url": B})
    assert await remove({"url": A}, {"url": B}) == 200
    assert (await ask("GET", "topics/g")).status == 404
    assert await remove({"url": A}) == 404


async def test_change_of_a_group_is_dated():
    await add({"url": A}, {"url": B})
    await UrlGroup.objects.aupdate(created_at=5, updated_at=5)
    await remove({"url": B})
    group = (await ask("GET", "topics/g")).json
    assert group["createdAt"] == 5 < group["updatedAt"]
    await UrlGroup.objects.aupdate(updated_at=5)
    await add({"url": C})
    assert (await ask("GET", "topics/g")).json["updatedAt"] > 5


async def test_deleting_can_be_repeated():
    await add({"url": A})
    for _ in range(2):
        assert (await ask("DELETE", "topics/g")).status == 200
    answer = await ask("GET", "topics/g")
    assert (answer.status, answer.error) == (404, "there is no URL group 'g'")


async def test_url_is_kept_as_messages_will_have_it():
    await add({"url": "https://a.test/ü b#part"})
    assert await endpoints() == [{"url": "https://a.test/%C3%BC%20b"}]
    assert await remove({"url": "https://a.test/ü b"}) == 200


@refusal
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "endpoints"),
        (b"{", "JSON"),
        ([], "endpoints"),
        ({"endpoints": []}, "endpoints"),
        ({"endpoints": {}}, "endpoints"),
        ({"endpoints": [1]}, "endpoints"),
        ({"endpoints": [{}]}, "endpoints"),
        ({"endpoints": [{"url": 1, "name": "a"}]}, "endpoints"),
        ({"endpoints": [{"url": A, "name": ["a"]}]}, "endpoints"),
        ({"endpoints": [{"url": A, "name": "a b"}]}, "endpoint name"),
        ({"endpoints": [{"url": "a.test"}]}, "scheme"),
        ({"endpoints": [{"url": "http://"}]}, "host"),
        ({"endpoints": [{"url": "http://\ud800/"}]}, "url"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_wrong_endpoints_are_refused(method, body, field):
    answer = await ask(method, "topics/g/endpoints", body)
    assert (answer.status, field in answer.error) == (400, True)
    assert not await UrlGroup.objects.aexists()


@refusal
async def test_endpoint_to_be_added_needs_a_url():
    answer = await ask("POST", "topics/g/endpoints", {"endpoints": [{"name": "a"}]})
    assert (answer.status, "url" in answer.error) == (400, True)


@refusal
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_impossible_name_is_refused(method):
    answer = await ask(method, "topics/a%20b")
    assert (answer.status, "URL group" in answer.error) == (400, True)


async def test_one_group_too_many_is_refused(settings):
    settings.BROKER_URL_GROUPS = 1
    await add({"url": A})
    answer = await ask("POST", "topics/another/endpoints", {"endpoints": [{"url": A}]})
    assert (answer.status, answer.error) == (412, "quota maxUrlGroups exceeded: 1")
    await add({"url": B})
    assert await UrlGroup.objects.acount() == 1


async def test_one_endpoint_too_many_is_refused(settings):
    settings.BROKER_ENDPOINTS = 2
    await add({"url": A}, {"url": B})
    answer = await ask("POST", "topics/g/endpoints", {"endpoints": [{"url": C}]})
    assert (answer.status, answer.error) == (412, "quota maxEndpoints exceeded: 2")
    assert await endpoints() == [{"url": A}, {"url": B}]


async def test_message_for_a_group_goes_to_each_endpoint():
    await add({"url": A, "name": "first"}, {"url": B})
    answer = await ask("POST", "publish/g", b"hi")
    messages = [message async for message in Message.objects.order_by("id")]
    assert [item["url"] for item in answer.json] == [A, B]
    assert [item["messageId"] for item in answer.json] == [m.message_id for m in messages]
    assert [(m.url, m.url_group, m.endpoint_name) for m in messages] == [
        (A, "g", "first"),
        (B, "g", ""),
    ]


async def test_message_on_its_way_outlives_its_group():
    await add({"url": A})
    await ask("POST", "publish/g")
    await remove({"url": A})
    assert (await Message.objects.aget()).url == A
    answer = await ask("POST", "publish/g")
    assert (answer.status, "scheme" in answer.error) == (400, True)


async def test_default_options_hold_unless_a_publisher_says_otherwise():
    await add({"url": A})
    headers = {"Upstash-Retries": "7", "upstash-forward-x": ["1", "2"], "Upstash-Label": "l"}
    assert (await ask("PATCH", "topics/g", {"headers": headers})).status == 200
    await ask("POST", "publish/g", headers={"Upstash-Label": "mine"})
    message = await Message.objects.aget()
    assert (message.max_retries, message.label_list) == (7, ["mine"])
    assert message.header == {"X": ["1", "2"]}


async def test_default_options_are_shown_and_replaced():
    await add({"url": A})
    for headers in ({"upstash-retries": "7"}, {"Upstash-Forward-X": ["1"]}):
        await ask("PATCH", "topics/g", {"headers": headers})
    assert (await ask("GET", "topics/g")).json["headers"] == {"Upstash-Forward-X": ["1"]}
    await ask("PATCH", "topics/g", {"headers": {}})
    assert "headers" not in (await ask("GET", "topics/g")).json


@refusal
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "headers"),
        ({"headers": []}, "headers"),
        ({"headers": {"Upstash-Retries": 3}}, "headers"),
        ({"headers": {"Upstash-Retries": [3]}}, "headers"),
        ({"headers": {"Upstash-Retries": "many"}}, "Upstash-Retries"),
        ({"headers": {"Upstash-Delay": ["soon"]}}, "Upstash-Delay"),
        ({"headers": {"Upstash-Content-Based-Deduplication": "perhaps"}}, "Deduplication"),
        ({"headers": {"a b": "1"}}, "a b"),
        ({"headers": {"X": "1\n2"}}, "X"),
    ],
)
async def test_wrong_default_options_are_refused(body, field):
    answer = await ask("PATCH", "topics/g", body)
    assert (answer.status, field in answer.error) == (400, True)


async def test_unknown_group_has_no_default_options():
    assert (await ask("PATCH", "topics/g", {"headers": {}})).status == 404


async def test_group_of_another_account_is_out_of_reach(other_token):
    await add({"url": A})
    assert (await ask("GET", "topics", token=other_token)).json == []
    for method, path, body in (
        ("GET", "", b""),
        ("PATCH", "", {"headers": {}}),
        ("DELETE", "/endpoints", {"endpoints": [{"url": A}]}),
    ):
        assert (await ask(method, f"topics/g{path}", body, token=other_token)).status == 404
    assert (await ask("POST", "publish/g", token=other_token)).status == 400
    await ask("DELETE", "topics/g", token=other_token)
    assert await endpoints() == [{"url": A}]


async def test_endpoints_added_at_the_same_time_are_all_there():
    await asyncio.gather(*(add({"url": f"https://a.test/{n % 4}"}) for n in range(12)))
    assert len(await endpoints()) == 4
