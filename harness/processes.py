"""Real servers for tests and benchmarks: gunicorn, `manage.py dev`, a dispatcher.

Each is started on a free port with a database of its own, waited for, and stopped by pid.
"""

import functools
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from harness.guard import guard
from harness.visitor import Visitor
from harness.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent
# Tests and benchmarks do everything more often than a visitor may.
LIMITS = ["LIMIT_JOBS", "LIMIT_UPLOADS", "LIMIT_SCHEDULES", "LIMIT_BINS"]
# How long a server may take to start on a machine that has much else to do.
START_SECONDS = 120
# The system gives the ports above to outgoing connections. One of them might take a server's port
# between its end and its next start.
FIRST_PORT, PORTS_EACH, MOST_WORKERS = 10_000, 5_000, 4


@functools.cache
def own_ports() -> Iterator[int]:
    """The ports of this process, beginning at a random one; pytest-xdist's workers share none."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = FIRST_PORT + worker % MOST_WORKERS * PORTS_EACH
    begin = secrets.randbelow(PORTS_EACH)
    return itertools.cycle(first + (begin + number) % PORTS_EACH for number in range(PORTS_EACH))


def free_port() -> int:
    """A port that nobody uses, and that this process is not given again soon."""
    while True:
        port = next(own_ports())
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def start_process(command: list[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a Python program of the project, which ends with this process at the latest."""
    own = {"cwd": ROOT, "start_new_session": True} | options
    own["env"] = guard.marked(own.get("env", os.environ))
    return subprocess.Popen([sys.executable, *command], **own)


def exit_on_sigterm() -> None:
    """Let SIGTERM leave a program the way Ctrl-C does, through its context managers."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, even if nobody has asked for its exit code yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def manage(database_url: str, *arguments: str) -> None:
    """Run a management command without a site."""
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
    """An empty database with all tables, made once a process."""
    file = Path(tempfile.mkdtemp()) / "template.sqlite3"
    migrate(f"sqlite:///{file}")
    return file


def collect_static() -> None:
    """Collect the static files, unless a test has started this program.

    They are collected once, before the tests: `collectstatic` removes every file for a moment,
    and other tests' sites may be reading them.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        manage("sqlite://:memory:", "collectstatic", "--noinput", "-v0")


class Site:
    """An installation of the site: a database, an environment, and its processes.

    `project` is the folder that holds manage.py, `folder` takes the database and the log.
    """

    def __init__(
        self, folder: Path, database_url: str = "", project: Path = ROOT, **environment: str
    ) -> None:
        self.folder, self.project, self.port = folder, project, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.environment = (
            os.environ
            | {
                "ALLOWED_HOSTS": "",
                "DATABASE_URL": database_url or f"sqlite:///{folder / 'site.sqlite3'}",
                "DEBUG": "0",
                "DELIVER_IN_PROCESS": "1",
                "DJANGO_SETTINGS_MODULE": "jobsite.settings",
                "LOG_FORMAT": "",
                "METRICS_TOKEN": "",
                **dict.fromkeys(LIMITS, "0"),
                "PORT": str(self.port),
                "PUBLIC_URL": self.url,
                "PYTHONUNBUFFERED": "1",
                "PYTHONWARNINGS": "default,ignore::ResourceWarning",
                "QSTASH_CURRENT_SIGNING_KEY": "",
                "QSTASH_NEXT_SIGNING_KEY": "",
                "QSTASH_TOKEN": "",
                "QSTASH_URL": "",
                "SECRET_KEY": "only-for-the-tests-" * 3,
                "WEB_CONCURRENCY": "1",
            }
            | environment
        )

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command to its end."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.project,
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
            process = start_process(
                [*command],
                env=self.environment | environment,
                cwd=self.project,
                stdout=log,
                stderr=log,
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
            except (requests.ConnectionError, requests.Timeout):
                return False

        eventually(up, seconds=START_SECONDS, what="the server's start")

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


@contextmanager
def site(
    folder: Path, database_url: str = "", project: Path = ROOT, **environment: str
) -> Iterator[Site]:
    """A prepared site; whatever was started of it is killed at the end."""
    running = Site(folder, database_url, project, **environment).prepare()
    try:
        yield running
    finally:
        running.stop_all()
