"""`/v2/openapi.json` and the routes, each held against the other; then machines try them all."""

import io
import re
from typing import Any

import pytest
import schemathesis
from asgiref.sync import async_to_sync
from django.urls import resolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from urllib3 import HTTPResponse

from broker.api.description import DESCRIPTION
from broker.models import DeadLetter, Event, Message
from broker.urls import urlpatterns
from tests.broker.calls import TOKEN, ask, exchange
from tests.broker.messages import new_message

URL = "https://target.test/"
SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION)
SCHEMA.config.phases.coverage.enabled = False
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
QUICK = settings(
    max_examples=6, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


class InProcess(HTTPAdapter):
    """Sends requests to the site without a network, destinations as clients send them."""

    def send(self, request: PreparedRequest, **options: Any) -> Response:
        target = request.path_url
        if target.startswith(("/v2/publish/", "/v2/enqueue/", "/v2/schedules/")):
            target = target.replace("%3A", ":").replace("%2F", "/")
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        headers = {
            name: value.decode("latin-1") if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        answer = async_to_sync(exchange)(request.method, target, headers, body)
        content = io.BytesIO(answer.body)
        return self.build_response(
            request,
            HTTPResponse(content, answer.headers, answer.status, preload_content=False),
        )


@pytest.fixture
def client(transactional_db) -> Session:
    """Whoever has the token."""
    client = Session()
    client.mount("http://", InProcess())
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    return client


async def furnish() -> None:
    """Make one of everything that the description's examples name."""
    made = [
        await ask("POST", "queues", {"queueName": "my-queue"}),
        await ask("POST", "topics/my-group/endpoints", {"endpoints": [{"url": URL}]}),
        await ask("POST", "flowControl/my-key/pin?rate=5"),
        await ask(
            "POST",
            "schedules/my-group",
            b"body",
            {"Upstash-Cron": "* * * * *", "Upstash-Schedule-Id": "my-schedule"},
        ),
    ]
    assert {answer.status for answer in made} == {200}
    await Message.objects.all().adelete()
    waiting, failed = await Message.objects.abulk_create(
        [
            new_message(message_id="msg_1", queue_name="my-queue", body=b"\xff", labels=",a,"),
            new_message(message_id="msg_2", state="FAILED", due_at=None, body=b"text"),
        ]
    )
    moment, number = 1_725_323_658_779, 0
    await DeadLetter.objects.acreate(
        id=number, message=failed, failed_at=moment, response_status=500, response_body=b"oops"
    )
    for message in (waiting, failed):
        await Event.objects.acreate(message=message, state="ERROR", time=moment, error="oops")


def addresses() -> dict[str, set[str]]:
    """The paths of the description, with something for each of their parts, and their methods."""
    examples = {"destination": URL, "key": "a/b"}
    return {
        re.sub(r"\{(\w+)\}", lambda part: examples.get(part[1], "name"), path).removeprefix(
            "/v2/"
        ): {method.upper() for method in operations}
        for path, operations in DESCRIPTION["paths"].items()
    }


async def methods_of(address: str) -> set[str]:
    """The methods that a route says it knows, when it is asked with one that no route knows."""
    answer = await ask("BREW", address)
    assert answer.status == 405
    return set(re.findall("[A-Z]{2,}", answer.error.partition(", not ")[0]))


async def test_description_is_for_everybody():
    answer = await ask("GET", "openapi.json", token="")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json == DESCRIPTION
    assert (await ask("POST", "openapi.json")).status == 405


@pytest.mark.parametrize(("address", "described"), addresses().items())
async def test_described_methods_are_those_of_the_route(address, described):
    known = await methods_of(address)
    if address.startswith("flowControl/"):
        assert described <= known  # one route for several paths
    else:
        assert described == known


def test_every_route_is_described():
    described = {resolve(f"/v2/{address}").route for address in addresses()}
    described.add(resolve(f"/v2/schedules/{URL}").route)
    routes = {
        f"v2/{str(route.pattern).removeprefix('^')}" for route in urlpatterns[:-1]
    }  # the last is for the rest
    assert described == routes


def operations_by_resource() -> dict[str, list[Any]]:
    """What can be asked for, by the first word of its path."""
    resources: dict[str, list[Any]] = {}
    for found in SCHEMA.get_all_operations():
        operation = found.ok()
        resources.setdefault(operation.path.split("/")[2], []).append(operation)
    return resources


def about_an_example(case: Case) -> Case:
    """The same request for what the description names as an example."""
    parts = case.operation.path_parameters
    case.path_parameters = {part.name: part.definition["example"] for part in parts}
    return case


@pytest.mark.parametrize(("resource", "operations"), operations_by_resource().items())
def test_no_request_is_answered_other_than_described(client, resource, operations):
    for operation in operations:
        cases = st.one_of(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

        @QUICK
        @given(cases | cases.map(about_an_example))
        def ask_for(case):
            case.call_and_validate(base_url="http://testserver", session=client, checks=CHECKS)

        async_to_sync(furnish)()
        ask_for()
