"""`POST /v2/publish/…`: who may publish, how a request is read, and how it is refused."""

import json
from typing import Any
from urllib.parse import unquote

import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.test import Client, RequestFactory

from broker.api.requests import Call
from broker.models import Message

URL = "https://target.test/hook"
TOKEN = {"Authorization": f"Bearer {settings.BROKER_TOKEN}"}
LARGEST_MESSAGE = settings.BROKER_MESSAGE_BYTES
application = ASGIHandler()

pytestmark = pytest.mark.django_db(transaction=True)


class Answer:
    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.json = status, json.loads(body)


async def request(target: str, method: str, body: bytes, headers: dict[str, str]) -> Answer:
    """Ask as a server does: it passes on the path both decoded and as it came."""
    path, _, query = target.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [
            (b"host", b"testserver"),
            *((name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()),
        ],
        "client": ("127.0.0.1", 50000),
    }
    server = ApplicationCommunicator(application, scope)
    await server.send_input({"type": "http.request", "body": body})
    start, content = await server.receive_output(5), await server.receive_output(5)
    return Answer(start["status"], content["body"])


async def publish(destination: str = URL, body: bytes = b"{}", **headers: str) -> Answer:
    """Publish with a token; `upstash_retries` stands for the header `Upstash-Retries`."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given |= TOKEN | {"Content-Type": "application/json"}
    return await request(f"/v2/publish/{destination}", "POST", body, given)


async def test_published_message_is_stored_and_named():
    response = await publish(body=b"\x00\xff", upstash_retries="7", upstash_forward_x="1")
    message = await Message.objects.aget()
    assert response.status == 200
    assert response.json == {"messageId": message.message_id, "url": URL}
    assert (bytes(message.body), message.max_retries) == (b"\x00\xff", 7)
    assert message.header == {"X": ["1"], "Content-Type": ["application/json"]}


async def test_caller_is_remembered():
    await publish()
    assert (await Message.objects.aget()).caller_ip == "127.0.0.1"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {settings.BROKER_TOKEN}"},
        {"Authorization": "Bearer ü"},
    ],
)
@pytest.mark.parametrize("query", ["", "?qstash_token=", "?qstash_token=wrong"])
async def test_request_without_the_token_is_refused(given, query):
    response = await request(f"/v2/publish/{URL}{query}", "POST", b"", given)
    assert response.status == 401
    assert response.json == {"error": "unable to authenticate: invalid token"}
    assert not await Message.objects.aexists()


async def test_token_may_be_in_the_query():
    query = f"qstash_token={settings.BROKER_TOKEN}&a=1"
    response = await request(f"/v2/publish/{URL}?{query}", "POST", b"", {})
    assert response.status == 200
    assert (await Message.objects.aget()).url == f"{URL}?a=1"


@pytest.mark.parametrize(
    "url",
    [
        "https://target.test/a%2Fb//c?x=%2F&y=a+b&&z=%20",
        "http://127.0.0.1:8000/%C3%A9?http://other.test/",
        "https://target.test/?a=1&a=2&b",
    ],
)
async def test_destination_keeps_its_characters(url):
    assert (await publish(url)).json["url"] == url
    assert (await Message.objects.aget()).url == url


@pytest.mark.parametrize("slash", ["https:/", "https://"])
async def test_slashes_that_a_proxy_merged_are_repaired(slash):
    assert (await publish(f"{slash}target.test/hook")).json["url"] == URL


async def test_options_may_be_in_the_query():
    await publish(f"{URL}?a=1&upstash-retries=5&Upstash-Method=put&upstash-delay=1m&b=%2F")
    message = await Message.objects.aget()
    assert (message.max_retries, message.method) == (5, "PUT")
    assert message.not_before == message.created_at + 60_000
    assert message.url == f"{URL}?a=1&b=%2F"


async def test_header_wins_over_the_query():
    await publish(f"{URL}?Upstash-Retries=5", upstash_retries="7")
    assert (await Message.objects.aget()).max_retries == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [("Upstash-Retries", "many"), ("Upstash-Delay", "9x"), ("Upstash-Retry-Delay", "1 +")],
)
async def test_wrong_option_is_answered_with_its_name(name, value):
    response = await publish(**{name: value})
    assert response.status == 400
    assert name in response.json["error"]
    assert not await Message.objects.aexists()


async def test_option_that_no_header_could_hold_is_refused():
    response = await publish(f"{URL}?upstash-label=a%00&upstash-forward-x=%0d%0a")
    assert response.status == 400


async def test_destination_without_a_scheme_is_refused():
    response = await publish("target.test/hook")
    assert response.status == 400
    assert "add http:// or https://" in response.json["error"]


async def test_duplicate_is_answered_with_the_first_message():
    first = await publish(upstash_deduplication_id="once")
    second = await publish(upstash_deduplication_id="once")
    assert (first.status, second.status) == (200, 202)
    assert second.json == first.json | {"deduplicated": True}


@pytest.mark.parametrize(("size", "status"), [(LARGEST_MESSAGE, 200), (LARGEST_MESSAGE + 1, 413)])
async def test_body_may_be_as_large_as_the_setting(size, status):
    assert (await publish(body=b"x" * size)).status == status


async def test_get_is_refused():
    assert (await request(f"/v2/publish/{URL}", "GET", b"", TOKEN)).status == 405
    assert not await Message.objects.aexists()


def test_wsgi_servers_raw_path_is_used():
    target = f"/v2/publish/{URL}/a%2Fb?upstash-retries=5&c=%2F"
    request = RequestFactory().post("/v2/publish/decoded", RAW_URI=target)
    destination, options = Call(request, "site").destination("/v2/publish/")
    assert (destination, options["upstash-retries"]) == (f"{URL}/a%2Fb?c=%2F", ["5"])


def test_publishing_works_under_wsgi():
    response = Client(enforce_csrf_checks=True).post(f"/v2/publish/{URL}", headers=TOKEN)
    assert response.json()["messageId"] == Message.objects.get().message_id
