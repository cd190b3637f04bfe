"""What all of `/v2/` has in common: who may ask, and how a request is refused."""

import pytest

from tests.broker.calls import TOKEN, ask, exchange

pytestmark = pytest.mark.django_db(transaction=True)


async def test_token_in_the_header_or_in_the_query_is_accepted():
    assert (await ask("GET", "queues")).status == 200
    bare = await exchange("GET", f"/v2/queues?qstash_token={TOKEN}", {"Host": "testserver"}, b"")
    assert bare.status == 200


async def test_unknown_token_is_refused():
    answer = await ask("GET", "queues", token="another")
    assert (answer.status, answer.error) == (401, "unable to authenticate: invalid token")


async def test_unknown_address_and_wrong_method_are_refused():
    assert (await ask("GET", "nothing")).status == 404
    answer = await ask("PATCH", "queues")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


async def test_read_only_token_may_only_read(settings):
    account = settings.BROKER_ACCOUNTS["site"] | {"read_only_token": "reader"}
    settings.BROKER_ACCOUNTS = {"site": account}
    assert (await ask("GET", "queues", token="reader")).status == 200
    assert (await ask("POST", "queues", {"queueName": "q"}, token="reader")).status == 403


async def test_body_that_is_not_json_or_too_large_is_refused(settings):
    assert (await ask("POST", "queues", b"{")).status == 400
    settings.BROKER_MESSAGE_BYTES = 10
    assert (await ask("POST", "publish/https://target.test/", b"x" * 11)).status == 413


async def test_query_that_is_not_text_is_refused():
    assert (await ask("GET", "events?state=%FF")).status == 400


@pytest.mark.parametrize("depth", [900, 5000, 100_000])
async def test_json_that_is_nested_deeply_is_refused_in_words(depth):
    nested = "[" * depth + "]" * depth
    whole = await ask("POST", "batch", nested.encode())
    assert (whole.status, bool(whole.error)) == (400, True)
    options = f'{{"destination": "https://target.test/", "headers": {{"Upstash-Delay": {nested}}}}}'
    answer = await ask("POST", "batch", f"[{options}]".encode())
    assert answer.error if answer.status == 400 else answer.json[0]["error"]
