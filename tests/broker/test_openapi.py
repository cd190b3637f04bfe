"""`/v2/openapi.json` describes the routes as they are; generated requests try all of them."""

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path
from pkgutil import iter_modules
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

from broker import options
from broker.api import (
    dead_letters,
    description,
    events,
    flow_control,
    messages,
    pages,
    schedules,
)
from broker.api.description import DESCRIPTION
from broker.models import DeadLetter, Event, Message, State
from broker.retry import DURATION
from broker.urls import urlpatterns
from tests.broker.calls import TOKEN, ask, exchange
from tests.broker.messages import new_message

URL = "https://target.test/"
PATHS = DESCRIPTION["paths"]
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
    """A client that has the token."""
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
    """The paths of the description with their parts filled in, and their methods."""
    examples = {"destination": URL, "key": "a/b"}
    return {
        re.sub(r"\{(\w+)\}", lambda part: examples.get(part[1], "name"), path).removeprefix(
            "/v2/"
        ): {method.upper() for method in operations}
        for path, operations in PATHS.items()
    }


async def methods_of(address: str) -> set[str]:
    """The methods that a route lists when it is asked with an unknown one."""
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
    }  # the last one matches everything else
    assert described == routes


def test_every_verb_of_a_flow_control_key_is_described():
    prefix = "/v2/flowControl/{key}/"
    described = {path.removeprefix(prefix) for path in PATHS if path.startswith(prefix)}
    assert described == set(flow_control.VERBS)


def values_of(keyword: str, part: Any = DESCRIPTION) -> Iterator[Any]:
    """Every value that a keyword of JSON Schema has anywhere in the description."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name == keyword and not isinstance(value, dict):
                yield value
            yield from values_of(keyword, value)
    elif isinstance(part, list):
        for one in part:
            yield from values_of(keyword, one)


def test_enumerations_are_those_of_the_code():
    assert {tuple(values) for values in values_of("enum")} == {
        tuple(State.values),
        tuple(events.STATES),
        events.ORDERS,
        tuple(dict.fromkeys(schedules.OUTCOMES.values())),
        options.METHODS,
        options.BOOLEANS,
    }


def test_patterns_are_those_of_the_code():
    name, url = options.NAME.pattern, "(http|https)://.+"
    expected = [name, DURATION.pattern, pages.CURSOR.pattern, url, f"{url}|{name}"]
    assert set(values_of("pattern")) == {f"^({pattern})$" for pattern in expected}


def test_limits_are_those_of_the_code():
    assert set(values_of("maximum")) == {options.LARGEST_INTEGER, options.LONGEST_PERIOD_SECONDS}
    assert set(values_of("maxLength")) == {options.LARGEST_KEY}


@pytest.mark.parametrize(
    ("path", "method", "known"),
    [
        ("/v2/messages", "delete", messages.KNOWN),
        ("/v2/events", "get", events.KNOWN),
        ("/v2/logs", "get", events.KNOWN),
        ("/v2/dlq", "get", dead_letters.KNOWN),
        ("/v2/dlq", "delete", dead_letters.KNOWN),
        ("/v2/dlq/retry", "post", dead_letters.KNOWN),
    ],
)
def test_described_filters_are_those_that_are_known(path, method, known):
    parameters = PATHS[path][method]["parameters"]
    assert [part["name"] for part in parameters if part["in"] == "query"] == known


@pytest.mark.parametrize("name", [module.name for module in iter_modules(description.__path__)])
def test_description_copies_no_state_pattern_or_limit(name):
    source = Path(description.__path__[0], f"{name}.py").read_text()
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)]
    texts = {node.value for node in nodes if isinstance(node.value, str)}
    numbers = {node.value for node in nodes if type(node.value) is int}
    assert not texts.intersection(word for values in values_of("enum") for word in values)
    assert not [text for text in texts if re.search(r"\]\{|\{\d|\\d|\.\+\$", text)]
    assert numbers <= {0, 1} | {int(status) for status in statuses()}


def statuses() -> set[str]:
    """Every status that some route answers with."""
    operations = [operation for path in PATHS.values() for operation in path.values()]
    return {status for operation in operations for status in operation["responses"]}


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
def test_every_answer_is_as_described(client, resource, operations):
    for operation in operations:
        cases = st.one_of(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

        @QUICK
        @given(cases | cases.map(about_an_example))
        def ask_for(case):
            case.call_and_validate(base_url="http://testserver", session=client, checks=CHECKS)

        async_to_sync(furnish)()
        ask_for()
