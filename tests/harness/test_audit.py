"""The audit finds what a service knows, and says so when there is none to ask."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.audit import Verdict, audit_python, read_npm
from harness.processes import free_port

HOLE = {
    "id": "TEST-1",
    "summary": "a hole",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [{"package": {"ecosystem": "PyPI", "name": "django"}}],
}

pytestmark = pytest.mark.skipif(shutil.which("uv") is None, reason="uv is not installed")


class Service(BaseHTTPRequestHandler):
    """Answers as OSV does, for one package: https://google.github.io/osv.dev/api/"""

    vulnerable = ""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        known = {"vulns": [{"id": HOLE["id"], "modified": HOLE["modified"]}]}
        answers = [known if q["package"]["name"] == self.vulnerable else {} for q in asked]
        self.answer({"results": answers})

    def do_GET(self) -> None:
        self.answer(HOLE)

    def answer(self, told: object) -> None:
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_known_vulnerability_of_a_python_package_is_found(service, monkeypatch):
    monkeypatch.setattr(Service, "vulnerable", "django")
    verdict = audit_python("--service-url", service)
    assert verdict.clean is False
    assert "django" in verdict.text and "TEST-1" in verdict.text


def test_packages_without_one_are_clean(service):
    assert audit_python("--service-url", service).clean is True


def test_service_that_does_not_answer_is_told():
    verdict = audit_python("--service-url", f"http://127.0.0.1:{free_port()}")
    assert verdict.clean is None
    assert str(verdict).startswith("uv.lock: NOT AUDITED\n")


@pytest.mark.parametrize(
    ("output", "errors", "verdict"),
    [
        ('{"vulnerabilities": {}}', "", Verdict("lock", True, "")),
        ('{"vulnerabilities": {"a": {"severity": "low"}}}', "", Verdict("lock", True, "")),
        (
            '{"vulnerabilities": {"a": {"severity": "high"}}}', "",
            Verdict("lock", False, "a: high"),
        ),
        (
            '{"message": "405", "statusCode": 405}', "",
            Verdict("lock", None, "the registry answered 405"),
        ),
        ("", "npm is not installed", Verdict("lock", None, "npm is not installed")),
    ],
)  # fmt: skip
def test_answers_of_npm_are_read(output, errors, verdict):
    assert read_npm("lock", output, errors) == verdict
