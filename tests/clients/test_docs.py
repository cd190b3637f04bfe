"""What docs/queue.md shows works: its programs and every curl run here as they are printed.

Each runs with an account of its own. The receivers that the page shows are run by
test_receivers.py.
"""

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from broker.management.commands.broker import Command
from harness.processes import ROOT
from harness.waiting import eventually
from tests.clients.test_receivers import RECEIVERS
from tests.conftest import skip_or_fail

FOLDER = Path(__file__).parent
PAGE = (ROOT / "docs/queue.md").read_text()
PROGRAMS = {
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "--eval"],
}
CURLRC = "silent\nshow-error\nfail-with-body\n"


def sections() -> dict[str, list[tuple[str, str]]]:
    """The page's blocks of code, each with its language, by the heading they are under."""
    found: dict[str, list[tuple[str, str]]] = {}
    heading = ""
    pattern = re.compile(r"^#+ ([^\n]+)$|^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for title, language, code in pattern.findall(PAGE):
        if title:
            heading = title
        else:
            found.setdefault(heading, []).append((language, code))
    return found


SECTIONS = sections()
EXAMPLES = dict(SECTIONS["Publish a message"])


@pytest.fixture
def paste(account, destination, tmp_path):
    """Runs the curls of a section, with the destination on port 3000; their answers."""
    if shutil.which("curl") is None:
        skip_or_fail("curl is missing; enable with: apt-get install curl")
    (tmp_path / ".curlrc").write_text(CURLRC + 'write-out = "\\n"\n')
    environment = {
        "CURL_HOME": str(tmp_path),
        "QSTASH_URL": account.url,
        "QSTASH_TOKEN": account.token,
    }

    def paste(heading):
        curls = [code for language, code in SECTIONS[heading] if "curl" in code]
        script = "".join(curls).replace("http://127.0.0.1:3000", destination.url(""))
        done = subprocess.run(
            ["sh", "-ec", script],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line]

    return paste


def test_every_curl_has_its_test():
    curls = {heading for heading, blocks in SECTIONS.items() if "curl" in str(blocks)}
    tests = Path(__file__).read_text()
    assert curls == set(re.findall(r'\bpaste\("(.+)"\)', tests))


def test_receivers_are_shown_as_they_are():
    for language, file in RECEIVERS.items():
        assert f"```{language}\n{file.read_text()}```\n" in PAGE


def test_the_four_lines_are_those_of_the_queue(queue):
    lines = dict(re.findall(r"^export (\w+)=(.*)$", PAGE, re.MULTILINE))
    assert lines == queue | {"QSTASH_URL": "http://127.0.0.1:8080"}


def test_commands_are_those_of_the_broker():
    parser = Command().create_parser("manage.py", "broker")
    commands = re.findall(r"^.*uv run manage.py broker\b(.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        parser.parse_args(shlex.split(command))


def test_settings_that_are_named_exist():
    example = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"\b(?:BROKER_[A-Z_]+|SECRET_KEY)\b", PAGE))
    assert named <= set(re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE))


@pytest.mark.parametrize("language", PROGRAMS)
def test_example_publishes(language, account, destination):
    program = shutil.which(PROGRAMS[language][0])
    if program is None or (language == "js" and not (FOLDER / "node_modules").exists()):
        skip_or_fail("a client is missing; enable with: npm ci --prefix tests/clients")
    example = EXAMPLES[language].replace("http://127.0.0.1:3000", destination.url(""))
    done = subprocess.run(
        [*PROGRAMS[language], example],
        cwd=FOLDER,
        env=os.environ | {"QSTASH_URL": account.url, "QSTASH_TOKEN": account.token},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(destination.first("/hook").body) == {"hello": "world"}


def test_curl_publishes_and_reads_the_log(paste, account, destination):
    published, log = paste("Publish a message")
    request = destination.first("/hook")
    account.accepts(request, destination.url("/hook"))
    assert (request.method, json.loads(request.body)) == ("POST", {"hello": "world"})
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Upstash-Message-Id"] == published["messageId"]
    assert log["logs"][-1]["state"] == "CREATED"


def test_options_do_what_the_table_says(account, destination):
    rows = re.findall(r"^\| `(Upstash-[\w-]+): ([^`]+)` \|", PAGE, re.MULTILINE)
    url = destination.url("/options")
    answer = account.http("POST", f"/v2/publish/{url}", headers=dict(rows)).json()
    message = account.http("GET", f"/v2/messages/{answer['messageId']}").json()
    assert message["notBefore"] - message["createdAt"] == 600_000
    assert (message["method"], message["maxRetries"]) == ("PUT", 5)
    assert message["retryDelayExpression"] == "1000 * (1 + retried)"
    assert message["header"] == {"My-Header": ["x"]}
    (line,) = account.http("GET", "/v2/events").json()["events"]
    assert line["timeout"] == 30_000
    again = account.http("POST", f"/v2/publish/{url}", headers=dict(rows)).json()
    assert (again["messageId"], again["deduplicated"]) == (answer["messageId"], True)


def test_headers_that_arrive_are_those_of_the_table(account, destination, fire):
    table = PAGE.partition("## Receive it")[2].partition("### The signature")[0]
    listed = set(re.findall(r"`((?:Upstash|User)-[\w-]+)`", table)) - {"Upstash-QStash"}
    url = destination.url("/hook")
    endpoints = {"endpoints": [{"url": url}]}
    account.http("POST", "/v2/topics/all/endpoints", json=endpoints).raise_for_status()
    headers = {"Upstash-Cron": "0 0 1 1 *"}
    schedule = account.http("POST", "/v2/schedules/all", headers=headers).json()
    fire(schedule["scheduleId"])
    request = destination.first("/hook")
    arrived = {name for name in request.headers if name.startswith(("Upstash-", "User-"))}
    assert arrived == listed


def test_curl_creates_a_schedule(paste, account, destination, fire):
    assert paste("Schedules")[0] == {"scheduleId": "nightly"}
    assert not account.http("GET", "/v2/schedules/nightly").json()["isPaused"]
    fire("nightly")
    assert json.loads(destination.first("/nightly").body) == {"report": "sales"}
    account.http("DELETE", "/v2/schedules/nightly").raise_for_status()
    assert account.http("GET", "/v2/schedules").json() == []


def test_curl_asks_for_callbacks(paste, destination):
    (published,) = paste("Callbacks")
    report = json.loads(destination.first("/answered").body)
    assert (report["status"], report["sourceMessageId"]) == (200, published["messageId"])
    assert base64.b64decode(report["body"]) == b"200 OK"
    assert destination.at("/failed") == []


def test_curl_publishes_to_a_group(paste, destination):
    *_, published = paste("URL groups")
    for item, path in zip(published, ["/invoice", "/ship"], strict=True):
        request = destination.first(path)
        assert request.headers["Upstash-Message-Id"] == item["messageId"]
        assert json.loads(request.body) == {"order": 7}


def test_curl_fills_and_changes_a_queue(paste, account, destination):
    paste("Queues")
    assert json.loads(destination.first("/mail").body) == {"to": "ann"}
    assert account.http("GET", "/v2/queues/mails").json()["parallelism"] == 2
    assert json.loads(destination.first("/api").body) == {"order": 7}
    key = account.http("GET", "/v2/flowControl/customer-7").json()
    assert (key["parallelismMax"], key["rateMax"], key["ratePeriod"]) == (2, 10, 60)


def test_curl_retries_the_dead_letters(paste, account, destination):
    url = destination.url("/flaky/1")
    account.http("POST", f"/v2/publish/{url}", headers={"Upstash-Retries": "0"})
    eventually(lambda: account.http("GET", "/v2/dlq").json()["messages"])
    listed, retried = paste("Dead letters")
    assert [letter["url"] for letter in listed["messages"]] == [url]
    request = destination.received(2, "/flaky/1")[1]
    assert request.headers["Upstash-Message-Id"] == retried["responses"][0]["messageId"]


def test_curl_asks_how_the_queue_is(paste):
    (answer,) = eventually(
        lambda: [answer for answer in paste("Going live") if answer["dispatcher"] == "ok"],
        what="the dispatcher's first sign of life",
    )
    assert answer["database"] == "ok"
