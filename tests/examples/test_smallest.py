"""examples/smallest.py: its own process, a real queue, a real browser, and how small it is."""

import ast
import io
import json
import re
import threading
import time
import tokenize
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any, NamedTuple

import jwt
import pytest
import requests
from playwright.sync_api import Page, expect

from broker.management.commands.broker import Command
from broker.signing import body_hash, sign
from harness.processes import ROOT, Site, free_port, site
from harness.sink import Sink
from harness.waiting import eventually
from jobsite.broker_settings import DEVELOPMENT_USERS
from tests.browser.conftest import Browse

SOURCE = ROOT / "examples" / "smallest.py"
NOT_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
USER = DEVELOPMENT_USERS["defaultUser"]
BODY = b'{"hello": "world"}'
STARTED = re.compile(r"^Started job with ID msg_\w+$")
FAILED = "Failed to start background job"


class Smallest(NamedTuple):
    """The example as a running process, and what it talks to."""

    site: Site
    queue_url: str
    sink: Sink

    @property
    def url(self) -> str:
        return self.site.url

    @property
    def task_url(self) -> str:
        return f"{self.url}/api/long-task"

    def wait_until_delivered(self, message_id: str) -> None:
        """Wait until the queue has noted that the task answered with 2xx."""
        query = {"messageId": message_id, "state": "DELIVERED"}
        headers = {"Authorization": f"Bearer {USER['token']}"}

        def look() -> list[Any]:
            url = f"{self.queue_url}/v2/events"
            return requests.get(url, query, headers=headers, timeout=10).json()["events"]

        eventually(look, what=f"the delivery of {message_id}")


def run_smallest(place: Site, queue_url: str, **environment: str) -> None:
    """Start the example and wait until it answers."""
    queue = {
        "QSTASH_URL": queue_url,
        "QSTASH_TOKEN": USER["token"],
        "QSTASH_CURRENT_SIGNING_KEY": USER["current"],
        "QSTASH_NEXT_SIGNING_KEY": USER["next"],
    }
    process = place.start(str(SOURCE), **queue | environment)

    def up() -> bool:
        assert process.poll() is None, place.log.read_text()
        try:
            return requests.get(place.url, timeout=10).ok
        except requests.ConnectionError:
            return False

    eventually(up, seconds=60, what="the example's start")


def run_broker(place: Site) -> str:
    """Start `manage.py broker` and wait until it says its URL."""
    command = ["manage.py", "broker", "--port", "0", "--in-memory"]
    process = place.start(*command, DEBUG="1", SECRET_KEY="", PUBLIC_URL="")

    def told() -> re.Match[str] | None:
        assert process.poll() is None, place.log.read_text()
        return re.search(r"^QSTASH_URL=(\S+)\n", place.log.read_text(), re.MULTILINE)

    return eventually(told, seconds=60, what="the queue's start")[1]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smallest]:
    """The example beside `manage.py broker`, its ten requests going to a sink."""
    with ExitStack() as stack:
        sink = stack.enter_context(Sink())
        broker = stack.enter_context(site(tmp_path_factory.mktemp("broker")))
        place = stack.enter_context(site(tmp_path_factory.mktemp("smallest")))
        queue_url = run_broker(broker)
        run_smallest(place, queue_url, LONG_TASK_TARGET_URL=sink.url)
        yield Smallest(place, queue_url, sink)


@pytest.fixture
def smallest(running: Smallest) -> Smallest:
    """The same, and nothing in the sink yet."""
    running.sink.requests.clear()
    return running


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Site]]:
    """Start the example alone, with a queue that is not there unless one is given."""
    with site(tmp_path) as place:

        def start(queue_url: str = "", **environment: str) -> Site:
            run_smallest(place, queue_url or f"http://127.0.0.1:{free_port()}", **environment)
            return place

        yield start


def click(page: Page) -> None:
    page.get_by_role("button", name="Start Background Job").click()


def assert_ten_requests(sink: Sink) -> None:
    """Ten requests with the published body, half a second apart."""
    assert [json.loads(request["body"]) for request in sink.requests] == [{"hello": "world"}] * 10
    moments = [request["at"] for request in sink.requests]
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(moments))


@pytest.fixture
def open_page(browse: Browse) -> Browse:
    """Opens pages; they have no icon, which the browser complains of."""
    browse.expect("404 (Not Found)")
    return browse


@pytest.mark.parametrize("javascript", [True, False])
def test_click_starts_a_job_that_sends_ten_requests(open_page: Browse, smallest, javascript):
    page = open_page(smallest.url, java_script_enabled=javascript)
    expect(page.get_by_text("Loading...")).to_be_hidden()
    click(page)
    result = page.get_by_role("status")
    expect(result).to_have_text(STARTED)
    smallest.wait_until_delivered(result.inner_text().split()[-1])
    assert_ten_requests(smallest.sink)


@pytest.mark.parametrize("status", [200, 500])
def test_button_waits_for_the_answer_and_a_useless_one_is_a_failure(open_page, start, status):
    answer = threading.Event()
    with Sink() as queue:
        queue.answer = lambda request: answer.wait(30) and status
        page = open_page(start(queue.url.rstrip("/")).url)
        button = page.get_by_role("button")
        click(page)
        expect(page.get_by_text("Loading...")).to_be_visible()
        expect(button).to_be_disabled()
        answer.set()
        expect(page.get_by_role("status")).to_have_text(FAILED)
        expect(page.get_by_text("Loading...")).to_be_hidden()
        expect(button).to_be_enabled()
        (request,) = queue.requests
    assert json.loads(request["body"]) == {"hello": "world"}
    assert request["headers"]["Authorization"] == f"Bearer {USER['token']}"


def test_publish_that_fails_is_said_on_the_page_and_logged(
    open_page: Browse, start, tmp_path_factory
):
    with site(tmp_path_factory.mktemp("broker")) as broker:
        place = start(run_broker(broker))
    for javascript in (True, False):
        page = open_page(place.url, java_script_enabled=javascript)
        click(page)
        expect(page.get_by_role("status")).to_have_text(FAILED)
    assert place.log.read_text().count("publishing failed: ") == 2


def test_form_of_another_site_starts_nothing(smallest):
    assert requests.post(smallest.url, timeout=10).status_code == 403


def forge(url: str, key: str = USER["current"], without: str = "", **claims: Any) -> str:
    """A signature that is right but for what is given."""
    now = int(time.time())
    right = {"iss": "Upstash", "sub": url, "exp": now + 300, "nbf": 0, "body": body_hash(BODY)}
    return jwt.encode(
        {name: value for name, value in (right | claims).items() if name != without}, key
    )


FORGED = {
    "none": lambda url: "",
    "no token": lambda url: "abc",
    "unsigned": lambda url: jwt.encode({"iss": "Upstash", "sub": url}, "", "none"),
    "another key": lambda url: forge(url, key="sig_" + "x" * 28),
    "another algorithm": lambda url: jwt.encode(
        jwt.decode(forge(url), options={"verify_signature": False}), USER["current"] * 2, "HS512"
    ),
    "another issuer": lambda url: forge(url, iss="Somebody"),
    "another URL": lambda url: forge(url, sub=f"{url}/"),
    "another body": lambda url: forge(url, body=body_hash(b"{}")),
    "expired": lambda url: forge(url, exp=int(time.time()) - 1),
    "not yet valid": lambda url: forge(url, nbf=int(time.time()) + 60),
    "without URL": lambda url: forge(url, without="sub"),
    "without end": lambda url: forge(url, without="exp"),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_forged_signature_is_refused(smallest, forged):
    url = smallest.task_url
    headers = {"Upstash-Signature": forged(url)}
    assert requests.post(url, BODY, headers=headers, timeout=10).status_code == 403
    assert smallest.sink.requests == []


def test_request_signed_with_the_next_key_is_accepted(smallest):
    url = smallest.task_url
    headers = {"Upstash-Signature": sign(url, BODY, USER["next"], int(time.time()))}
    answer = requests.post(url, BODY, headers=headers, timeout=20)
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert_ten_requests(smallest.sink)


def test_beside_a_queue_on_this_machine_no_other_host_is_served(smallest):
    url = "http://jobs.example.com/api/long-task"
    headers = {"Upstash-Signature": forge(url), "Host": "jobs.example.com"}
    assert requests.post(smallest.task_url, BODY, headers=headers, timeout=10).status_code == 400


def test_behind_a_tunnel_the_hosts_own_address_counts(start):
    """Accepted, as it comes to the work; the target is not there, so the queue will try again."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    place = start("https://queue.example.com", LONG_TASK_TARGET_URL=nowhere)
    tunnel = {"Host": "jobs.example.com", "X-Forwarded-Proto": "https"}
    signature = {"Upstash-Signature": forge("https://jobs.example.com/api/long-task")}
    url = f"{place.url}/api/long-task"
    assert requests.post(url, BODY, headers=signature, timeout=10).status_code == 403
    assert requests.post(url, BODY, headers=tunnel | signature, timeout=10).status_code == 500
    eventually(lambda: "ConnectionError" in place.log.read_text(), what="the traceback")


def test_token_without_keys_is_not_completed_with_the_published_keys(tmp_path):
    with site(tmp_path) as place:
        for name in ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"):
            place.environment.pop(name)
        process = place.start(str(SOURCE), QSTASH_TOKEN="mine", QSTASH_URL="https://qstash.test")
        assert process.wait(timeout=60) != 0
        assert "KeyError: 'QSTASH_CURRENT_SIGNING_KEY'" in place.log.read_text()


def test_queue_used_with_nothing_set_is_the_one_of_manage_py_broker():
    port = Command().create_parser("manage.py", "broker").parse_args([]).port
    (values,) = re.findall(r"^LOCAL_QUEUE = (\{.*?^\})", SOURCE.read_text(), re.DOTALL | re.M)
    assert ast.literal_eval(values) == {
        "QSTASH_URL": f"http://127.0.0.1:{port}",
        "QSTASH_TOKEN": USER["token"],
        "QSTASH_CURRENT_SIGNING_KEY": USER["current"],
        "QSTASH_NEXT_SIGNING_KEY": USER["next"],
    }


def lines_of_code(source: str) -> int:
    """How many lines have code on them: no blanks, comments or docstrings."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {
        line
        for token in tokens
        if token.type not in NOT_CODE and token.string
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.FunctionDef) and ast.get_docstring(node):
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return len(lines)


def test_lines_are_counted_without_blanks_comments_and_docstrings():
    source = '"""Words.\n\nMore."""\n\n# why\nA = """x\n\ny"""  # how\n\ndef f():\n    """Do."""\n'
    assert lines_of_code(source) == 4


def test_it_is_at_most_80_lines_of_code():
    assert lines_of_code(SOURCE.read_text()) <= 80


def test_it_imports_nothing_of_ours():
    nodes = list(ast.walk(ast.parse(SOURCE.read_text())))
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    ours = {file.parent.name for file in ROOT.glob("*/__init__.py")}
    assert {"jobs", "broker"} < ours
    assert not {name.partition(".")[0] for name in imported} & ours
