"""The queue used without an SDK: curl as in QStash's documentation, and plain HTTP.

A message of QStash's workflow SDKs is among them: its `Upstash-Workflow-*` headers must arrive
intact, as that SDK reads them at the destination.
"""

import json
import os
import shutil
import subprocess
import time

import pytest

from tests.conftest import skip_or_fail


@pytest.fixture
def curl(account):
    """Runs a command line as the documentation prints it; the answer's status and JSON."""
    if shutil.which("curl") is None:
        skip_or_fail("curl is missing; enable with: apt-get install curl")

    def curl(command, **variables):
        environment = {"QSTASH_URL": account.url, "QSTASH_TOKEN": account.token} | variables
        done = subprocess.run(
            ["sh", "-c", f"{command} -sS -w '\n%{{http_code}}'"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == 0, done.stderr
        answer, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(answer) if answer else None

    return curl


def test_curl_publishes_with_a_delay(curl, account, destination):
    before = time.time()
    status, answer = curl(
        """curl -X POST "$QSTASH_URL/v2/publish/$URL" \
           -H "Authorization: Bearer $QSTASH_TOKEN" \
           -H "Content-Type: application/json" \
           -H "Upstash-Delay: 1s" \
           -H "Upstash-Forward-My-Header: my-value" \
           -d '{ "hello": "world" }'""",
        URL=destination.url("/api?x=1"),
    )
    request = destination.first("/api?x=1")
    assert (status, answer["messageId"]) == (200, request.headers["Upstash-Message-Id"])
    assert (request.body, request.headers["My-Header"]) == (b'{ "hello": "world" }', "my-value")
    assert time.time() - before >= 1
    account.accepts(request, destination.url("/api?x=1"))


def test_header_given_twice_arrives_twice(curl, destination):
    curl(
        """curl -X POST "$QSTASH_URL/v2/publish/$URL" \
           -H "Authorization: Bearer $QSTASH_TOKEN" \
           -H "Upstash-Forward-X-Two: 1" -H "Upstash-Forward-X-Two: 2" """,
        URL=destination.url(),
    )
    assert destination.first().headers.get_all("X-Two") == ["1", "2"]


def test_all_headers_are_forwarded_on_demand(curl, destination):
    curl(
        """curl -X POST "$QSTASH_URL/v2/publish/$URL" \
           -H "Authorization: Bearer $QSTASH_TOKEN" \
           -H "Upstash-Header-Forward: true" -H "X-Mine: 1" """,
        URL=destination.url(),
    )
    request = destination.first()
    assert request.headers["X-Mine"] == "1"
    assert "authorization" not in request.names


def test_options_and_token_may_stand_in_the_query(curl, destination):
    status, answer = curl(
        """curl -X POST "$QSTASH_URL/v2/publish/$URL&qstash_token=$QSTASH_TOKEN" """,
        URL=destination.url("/api?a=1&upstash-method=GET&upstash-forward-x-b=2&c=3"),
    )
    assert status == 200, answer
    request = destination.first("/api?a=1&c=3")
    assert (request.method, request.headers["X-B"]) == ("GET", "2")


def test_curl_reads_and_cancels_a_message(curl, destination):
    authorized = '-H "Authorization: Bearer $QSTASH_TOKEN"'
    _, published = curl(
        f'curl -X POST "$QSTASH_URL/v2/publish/$URL" {authorized} -H "Upstash-Delay: 1h30m"',
        URL=destination.url(),
    )
    message = published["messageId"]
    status, answer = curl(f'curl "$QSTASH_URL/v2/messages/{message}" {authorized}')
    assert (status, answer["notBefore"] - answer["createdAt"]) == (200, 5_400_000)
    status, answer = curl(f'curl -X DELETE "$QSTASH_URL/v2/messages/{message}" {authorized}')
    assert (status // 100, answer) == (2, {"cancelled": 1})
    status, answer = curl(f'curl "$QSTASH_URL/v2/messages/{message}" {authorized}')
    assert (status, list(answer)) == (404, ["error"])


def test_curl_lists_the_logs_under_both_names(curl, destination):
    authorized = '-H "Authorization: Bearer $QSTASH_TOKEN"'
    curl(f'curl -X POST "$QSTASH_URL/v2/enqueue/q/$URL" {authorized}', URL=destination.url())
    destination.first()
    _, logs = curl(f'curl "$QSTASH_URL/v2/logs?state=CREATED" {authorized}')
    _, events = curl(f'curl "$QSTASH_URL/v2/events?state=CREATED" {authorized}')
    assert logs["logs"] == events["events"]
    assert events["events"][0]["queueName"] == "q"


def test_a_schedule_is_paused_by_post_as_documented(curl, destination):
    authorized = '-H "Authorization: Bearer $QSTASH_TOKEN"'
    _, created = curl(
        f'curl -X POST "$QSTASH_URL/v2/schedules/$URL" {authorized} -H "Upstash-Cron: * * * * *"',
        URL=destination.url(),
    )
    path = f"$QSTASH_URL/v2/schedules/{created['scheduleId']}"
    assert curl(f'curl -X POST "{path}/pause" {authorized}')[0] // 100 == 2
    assert curl(f'curl "{path}" {authorized}')[1]["isPaused"]
    assert curl(f'curl -X POST "{path}/resume" {authorized}')[0] // 100 == 2
    assert not curl(f'curl "{path}" {authorized}')[1]["isPaused"]


def test_wrong_token_is_refused(curl, destination):
    status, answer = curl(
        'curl -X POST "$QSTASH_URL/v2/publish/$URL" -H "Authorization: Bearer wrong"',
        URL=destination.url(),
    )
    assert (status, answer) == (401, {"error": "unable to authenticate: invalid token"})
    assert destination.requests == []


def test_workflow_headers_arrive_intact(account, destination):
    given = {
        "Upstash-Forward-Upstash-Workflow-Is-Failure": "true",
        "Upstash-Workflow-RunId": "wfr_1",
        "Upstash-Workflow-Init": "false",
        "Upstash-Workflow-Url": destination.url("/workflow"),
        "Upstash-Workflow-CallType": "toCallback",
        "Upstash-Workflow-Sdk-Version": "1",
    }
    url = destination.url("/workflow")
    answer = account.http("POST", f"/v2/publish/{url}", headers=given, data=b"[1]")
    assert answer.status_code == 200, answer.text
    request = destination.first("/workflow")
    for name, value in given.items():
        assert request.headers[name.removeprefix("Upstash-Forward-")] == value, name
    account.accepts(request, url)


def test_workflow_headers_reach_a_callback(account, destination):
    url, callback = destination.url("/call"), destination.url("/workflow")
    given = {
        "Upstash-Callback": callback,
        "Upstash-Callback-Workflow-RunId": "wfr_1",
        "Upstash-Callback-Workflow-CallType": "fromCallback",
        "Upstash-Callback-Forward-Upstash-Workflow-StepId": "3",
    }
    account.http("POST", f"/v2/publish/{url}", headers=given).raise_for_status()
    request = destination.first("/workflow")
    assert request.headers["Upstash-Workflow-StepId"] == "3"
    assert request.headers["Upstash-Workflow-RunId"] == "wfr_1"
    assert request.headers["Upstash-Workflow-CallType"] == "fromCallback"
    account.accepts(request, callback)


def test_workflow_batch_arrives_with_its_headers(account, destination):
    headers = {
        "Upstash-Workflow-Init": "true",
        "Upstash-Workflow-RunId": "wfr_2",
        "Upstash-Workflow-Url": destination.url(),
        "Content-Type": "application/json",
    }
    item = {"destination": destination.url(), "headers": headers, "body": "{}"}
    account.http("POST", "/v2/batch", json=[item]).raise_for_status()
    request = destination.first()
    for name, value in headers.items():
        assert request.headers[name] == value, name
