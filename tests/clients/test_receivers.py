"""The receivers that docs/queue.md shows, run as programs that a real queue delivers to.

Their rules are also tried one by one, with signatures made here: what is not signed by the
queue, for this URL, over this body and now, is refused.
"""

import base64
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from harness.processes import ROOT, free_port
from harness.waiting import eventually
from tests.conftest import skip_or_fail

RECEIVERS = {"python": ROOT / "examples/receiver.py", "js": ROOT / "examples/receiver.mjs"}
OTHER_KEY = "sig_6jWGaWRxHsw4vMSPJprXadyvrybF"
BODY = b'{"hello": "you"}'


class Receiver:
    """One of them, running; what it prints goes to `log`."""

    def __init__(self, program: str, file: Path, folder: Path, queue: dict[str, str]) -> None:
        self.queue, self.log, port = queue, folder / "log", free_port()
        self.url = f"http://127.0.0.1:{port}/hook?a=1"
        environment = {"BASE_URL": f"http://127.0.0.1:{port}", "PORT": str(port)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, file], env=queue | environment, stdout=log, stderr=log
            )

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.receive("", "msg_none") == 403
        except requests.ConnectionError:
            return False

    def receive(self, token: str, message_id: str, body: bytes = BODY) -> int:
        """The status it answers a request with."""
        headers = {"Upstash-Signature": token, "Upstash-Message-Id": message_id}
        return requests.post(self.url, data=body, headers=headers, timeout=10).status_code

    def token(self, key: str = "", algorithm: str = "HS256", **changed: Any) -> str:
        """A signature for BODY as the queue makes it; a claim that is None is left out."""
        now, digest = int(time.time()), hashlib.sha256(BODY).digest()
        claims = {
            "iss": "Upstash",
            "sub": self.url,
            "exp": now + 300,
            "nbf": 0,
            "iat": now,
            "jti": "jwt_1",
            "body": base64.urlsafe_b64encode(digest).decode(),
        } | changed
        given = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(given, key or self.queue["QSTASH_CURRENT_SIGNING_KEY"], algorithm)

    def publish(self, body: bytes, **headers: str) -> str:
        """Have the queue deliver a message here; its id."""
        url = f"{self.queue['QSTASH_URL']}/v2/publish/{self.url}"
        authorization = {"Authorization": f"Bearer {self.queue['QSTASH_TOKEN']}"}
        answer = requests.post(url, data=body, headers=authorization | headers, timeout=20)
        return answer.json()["messageId"]

    def states(self, message_id: str, last: str) -> list[str]:
        """The states of a message in order, once it has come to the last one."""

        def look() -> list[str]:
            events = requests.get(
                f"{self.queue['QSTASH_URL']}/v2/events",
                params={"messageId": message_id},
                headers={"Authorization": f"Bearer {self.queue['QSTASH_TOKEN']}"},
                timeout=20,
            ).json()["events"]
            states = [event["state"] for event in reversed(events)]
            return states if last in states else []

        return eventually(look, what=last)


@pytest.fixture(scope="module", params=RECEIVERS)
def receiver(
    request: pytest.FixtureRequest, queue: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Receiver]:
    program = sys.executable if request.param == "python" else shutil.which("node")
    if program is None:
        skip_or_fail("node is missing; enable with: apt-get install nodejs")
    folder = tmp_path_factory.mktemp(request.param)
    running = Receiver(program, RECEIVERS[request.param], folder, queue)
    try:
        eventually(running.is_up, what="the receiver's start")
        yield running
    finally:
        running.process.terminate()
        running.process.wait(timeout=20)


def test_message_of_the_queue_is_received(receiver):
    name = "published \u00e9"
    message_id = receiver.publish(f'{{"hello": "{name}"}}'.encode())
    assert receiver.states(message_id, "DELIVERED") == ["CREATED", "ACTIVE", "DELIVERED"]
    assert receiver.log.read_text().count(f"hello, {name}") == 1


def test_message_that_comes_twice_is_worked_on_once(receiver):
    for _ in range(2):
        assert receiver.receive(receiver.token(), "msg_twice") == 200
    assert receiver.log.read_text().count("hello, you") == 1


def test_next_key_is_accepted_too(receiver):
    token = receiver.token(key=receiver.queue["QSTASH_NEXT_SIGNING_KEY"])
    assert receiver.receive(token, "msg_twice") == 200


def test_padding_of_the_body_hash_does_not_matter(receiver):
    hash_ = base64.urlsafe_b64encode(hashlib.sha256(BODY).digest()).decode().rstrip("=")
    assert receiver.receive(receiver.token(body=hash_), "msg_twice") == 200


def test_clock_may_differ_by_a_few_seconds(receiver):
    now = int(time.time())
    assert receiver.receive(receiver.token(exp=now - 2), "msg_twice") == 200
    assert receiver.receive(receiver.token(nbf=now + 2), "msg_twice") == 200


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # of HS512
def test_what_the_queue_has_not_signed_is_refused(receiver):
    head, claims, signature = receiver.token().split(".")
    now = int(time.time())
    refused = {
        "no signature": "",
        "not a token": "a.b.c",
        "no algorithm": f"eyJhbGciOiJub25lIn0.{claims}.",
        "another algorithm": receiver.token(algorithm="HS512"),
        "another key": receiver.token(key=OTHER_KEY),
        "changed claims": f"{head}.{claims[:-2]}.{signature}",
        "another issuer": receiver.token(iss="somebody"),
        "another path": receiver.token(sub=receiver.url.replace("/hook", "/other")),
        "another query": receiver.token(sub=receiver.url.replace("a=1", "a=2")),
        "expired": receiver.token(exp=now - 60),
        "not yet valid": receiver.token(nbf=now + 60),
        "another body": receiver.token(body=base64.urlsafe_b64encode(bytes(32)).decode()),
    } | {
        f"no {name}": receiver.token(**{name: None})
        for name in ("iss", "sub", "exp", "nbf", "body")
    }
    answers = {why: receiver.receive(token, "msg_refused") for why, token in refused.items()}
    assert answers == dict.fromkeys(refused, 403)
    assert receiver.receive(receiver.token(), "msg_refused", BODY + b" ") == 403


def test_message_that_can_never_work_is_given_up(receiver):
    message_id = receiver.publish(b"not JSON")
    assert receiver.states(message_id, "FAILED") == ["CREATED", "ACTIVE", "ERROR", "FAILED"]


def test_work_that_fails_is_tried_again(receiver):
    retries = {"Upstash-Retries": "1", "Upstash-Retry-Delay": "1"}
    message_id = receiver.publish(b'{"nothing": "here"}', **retries)
    assert receiver.states(message_id, "FAILED").count("ACTIVE") == 2
    assert receiver.log.read_text().count(f"cannot work on {message_id}") == 2
