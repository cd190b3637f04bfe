"""Real servers for the tests: gunicorn, `manage.py dev`, a dispatcher, a sink.

Each is started on a free port with a database of its own, waited for, and stopped by pid.
"""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.postgresql import free_port

ROOT = Path(__file__).resolve().parent.parent
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


def eventually[T](look: Callable[[], T], seconds: float = 20, what: str = "it") -> T:
    """The first true answer of `look`; fails if there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := look():
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, even if nobody has asked for its exit code yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Sink:
    """A target that keeps what it gets and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any]], int] = lambda request: 200
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = {
                    "at": time.time(),
                    "path": self.path,
                    "headers": dict(self.headers),
                    "body": body,
                }
                sink.requests.append(request)
                status = sink.answer(request)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, request: object, address: object) -> None:
                """A client that was killed in the middle is part of the tests."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    @property
    def keys(self) -> list[str]:
        """The Idempotency-Keys, in order of arrival."""
        return [request["headers"]["Idempotency-Key"] for request in self.requests]

    def __enter__(self) -> "Sink":
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def manage(database_url: str, *arguments: str) -> None:
    """Run a management command for the tests' own sake."""
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "DEBUG": "0",
        "DJANGO_SETTINGS_MODULE": "jobsite.settings",
        "SECRET_KEY": "only-for-the-tests-" * 3,
    }
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@functools.cache
def migrate(database_url: str) -> None:
    manage(database_url, "migrate", "-v0")


@functools.cache
def migrated_sqlite() -> Path:
    """An empty database with all tables, made once a session."""
    file = Path(tempfile.mkdtemp()) / "template.sqlite3"
    migrate(f"sqlite:///{file}")
    return file


def collect_static() -> None:
    manage("sqlite://:memory:", "collectstatic", "--noinput", "-v0")


class Site:
    """An installation of the site: a database, an environment, and its processes."""

    def __init__(self, folder: Path, database_url: str = "", **environment: str) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = (
            os.environ
            | {
                "ALLOWED_HOSTS": "",
                "DATABASE_URL": database_url or f"sqlite:///{folder / 'site.sqlite3'}",
                "DEBUG": "0",
                "DJANGO_SETTINGS_MODULE": "jobsite.settings",
                "PORT": str(self.port),
                "PUBLIC_URL": self.url,
                "PYTHONUNBUFFERED": "1",
                "PYTHONWARNINGS": "default,ignore::ResourceWarning",
                "QSTASH_CURRENT_SIGNING_KEY": "",
                "QSTASH_NEXT_SIGNING_KEY": "",
                "SECRET_KEY": "only-for-the-tests-" * 3,
                "WEB_CONCURRENCY": "1",
            }
            | environment
        )

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command to its end."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
        )

    def prepare(self) -> "Site":
        """Create the tables, on SQLite by copying a file that has them."""
        if self.environment["DATABASE_URL"].startswith("sqlite"):
            shutil.copy(migrated_sqlite(), self.folder / "site.sqlite3")
        else:
            migrate(self.environment["DATABASE_URL"])
        return self

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a process of the site; its output goes to `log`."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.environment | environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def start_web(self, **environment: str) -> subprocess.Popen[bytes]:
        """gunicorn, as in production."""
        process = self.start("-m", "gunicorn", **environment)
        self.wait_until_up(process)
        return process

    def start_dispatcher(self) -> subprocess.Popen[bytes]:
        return self.start("manage.py", "run_dispatcher")

    def wait_until_up(self, process: subprocess.Popen[bytes]) -> None:
        def up() -> bool:
            assert process.poll() is None, self.log.read_text()
            try:
                return requests.get(f"{self.url}/healthz", timeout=30).status_code in {200, 503}
            except requests.ConnectionError:
                return False

        eventually(up, seconds=60, what="the server's start")

    def stop(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
        """Signal a process and wait for its end; with SIGKILL its children go with it."""
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            if number == signal.SIGKILL:
                for child in children:
                    child.kill()
                eventually(lambda: all(map(is_gone, children)), what="the children's end")
            process.wait(timeout=40)

    def stop_all(self) -> None:
        for process in self.processes:
            self.stop(process, signal.SIGKILL)

    def click(self) -> "Visitor":
        """Open the page and click the button, as a browser with htmx does."""
        return Visitor(self.url).click()


class Visitor:
    """A browser without a window: session, CSRF token, and the job it has started."""

    def __init__(self, url: str) -> None:
        self.url, self.http = url, requests.Session()
        self.token = TOKEN.search(self.http.get(url, timeout=10).text)[1]
        self.answer, self.job_id = "", ""

    def click(self, htmx: bool = True) -> "Visitor":
        response = self.http.post(
            f"{self.url}/jobs/start",
            data={"csrfmiddlewaretoken": self.token},
            headers={"HX-Request": "true"} if htmx else {},
            timeout=60,
        )
        self.answer = response.text
        found = re.search(r'id="job-([0-9a-f]+)"', self.answer)
        self.job_id = found[1] if found else response.url.rpartition("/")[2]
        return self

    def job(self) -> dict[str, Any]:
        """The job's facts, as a script reads them."""
        return self.http.get(
            f"{self.url}/jobs/{self.job_id}",
            headers={"Accept": "application/json"},
            timeout=10,
        ).json()

    def until(self, status: str, seconds: float = 30) -> dict[str, Any]:
        """Wait for a status."""

        def look() -> dict[str, Any] | None:
            try:
                job = self.job()
            except (requests.ConnectionError, requests.Timeout, json.JSONDecodeError):
                return None
            return job if job["status"] == status else None

        return eventually(look, seconds, f"the status {status}")


@contextmanager
def site(folder: Path, database_url: str = "", **environment: str) -> Iterator[Site]:
    """A prepared site; whatever was started of it is killed at the end."""
    running = Site(folder, database_url, **environment).prepare()
    try:
        yield running
    finally:
        running.stop_all()
