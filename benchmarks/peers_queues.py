"""The queues that peers.py compares: each is started on an empty database, and stopped.

How each is configured is here and in peer_site/settings.py. All have two worker processes for
small jobs; for long ones Celery and Huey have a thousand greenlets in one process.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import psycopg

from harness.guard import guard
from harness.postgresql import Cluster
from harness.processes import ROOT, free_port, site

PEERS = ROOT / ".venv-peers" / "bin"
CELERY = ["celery", "-A", "benchmarks.peer_site.celery_tasks", "worker", "-l", "WARNING"]
CELERY += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
HUEY = ["python", "-m", "benchmarks.peer_site.huey_worker"]
WORKERS = {
    ("celery", "small"): [*CELERY, "-P", "prefork", "-c", "2"],
    ("celery", "long"): [*CELERY, "-P", "gevent", "-c", "1000", "--prefetch-multiplier", "1"],
    ("huey", "small"): [*HUEY, "process", "2"],
    ("huey", "long"): [*HUEY, "greenlet", "1000"],
}


class Queue(NamedTuple):
    """A queue that runs: how to enqueue, which database holds the jobs, whose CPU counts."""

    publisher: list[str]
    environment: dict[str, str]
    table: str
    pids: list[int]

    def publish(self, kind: str, count: int, *more: str) -> dict:
        """Run peers_publisher.py to its end."""
        command = [*self.publisher, kind, str(count), *more]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout)

    def succeeded(self) -> tuple[int, str | None]:
        """How many jobs have succeeded, and the last moment."""
        query = f"SELECT count(*), max(finished_at) FROM {self.table} WHERE status = 'succeeded'"  # noqa: S608
        url = self.environment["DATABASE_URL"]
        if url.startswith("sqlite"):
            file = url.removeprefix("sqlite:///")
            database = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)
            with database:
                row = database.execute(query).fetchone()
            database.close()
            return row
        with psycopg.connect(url) as connection:
            return connection.execute(query).fetchone()

    def cpu_seconds(self) -> float:
        total = 0.0
        for pid in self.pids:
            with suppress(psutil.NoSuchProcess):
                root = psutil.Process(pid)
                for process in [root, *root.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        times = process.cpu_times()
                        total += times.user + times.system
        return total


@contextmanager
def running_redis(folder: Path) -> Iterator[tuple[str, int]]:
    """An empty Redis that flushes its log every second, its default; its URL and pid."""
    if not (program := shutil.which("redis-server")):
        raise SystemExit("Redis is not installed. On Debian: apt-get install redis-server")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    command += ["--appendonly", "yes", "--save", "", "--maxclients", "6000"]
    environment = guard.marked(os.environ)
    with (folder / "redis.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        yield f"redis://127.0.0.1:{port}/0", process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def running_ours(folder: Path, database_url: str, target_url: str) -> Iterator[Queue]:
    own = {"LONG_TASK_TARGET_URL": target_url, "PYTHONWARNINGS": "", "WEB_CONCURRENCY": "2"}
    own |= {"DJANGO_SETTINGS_MODULE": "benchmarks.our_site.settings"}
    with site(folder, database_url, **own) as installed:
        server = installed.start_web()
        publisher = [sys.executable, "-m", "benchmarks.peers_publisher", "ours"]
        yield Queue(publisher, installed.environment, "jobs_job", [server.pid])
        installed.stop(server)


@contextmanager
def running_peer(
    name: str, kind: str, folder: Path, database_url: str, target_url: str
) -> Iterator[Queue]:
    with running_redis(folder) as (redis_url, redis_pid):
        environment = os.environ | {
            "DATABASE_URL": database_url or f"sqlite:///{folder / 'site.sqlite3'}",
            "DJANGO_SETTINGS_MODULE": "benchmarks.peer_site.settings",
            "LONG_TASK_TARGET_URL": target_url,
            "PEER": name,
            "PEER_POOL": "1" if kind == "long" and database_url else "",
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": redis_url,
        }
        create = [PEERS / "python", "-m", "django", "migrate", "-v0", "--run-syncdb"]
        subprocess.run(create, cwd=ROOT, env=environment, check=True)
        program, *arguments = WORKERS[name, kind]
        with (folder / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [PEERS / program, *arguments],
                cwd=ROOT,
                env=guard.marked(environment),
                stdout=log,
                stderr=log,
            )
        publisher = [str(PEERS / "python"), "-m", "benchmarks.peers_publisher", name]
        try:
            yield Queue(publisher, environment, "peer_site_job", [worker.pid, redis_pid])
        finally:
            stop(worker)


def stop(worker: subprocess.Popen[bytes]) -> None:
    """Stop a worker and its children, which may take their time."""
    family = psutil.Process(worker.pid).children(recursive=True) if worker.poll() is None else []
    worker.terminate()
    try:
        worker.wait(timeout=10)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@contextmanager
def running(name: str, kind: str, cluster: Cluster | None, target_url: str) -> Iterator[Queue]:
    """A queue on an empty database; everything is stopped at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        url = cluster.new_database("template1") if cluster else ""
        start = (
            running_ours(Path(folder), url, target_url)
            if name == "ours"
            else running_peer(name, kind, Path(folder), url, target_url)
        )
        with start as queue:
            if cluster:
                postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
                queue.pids.append(postmaster)
            yield queue


def install() -> None:
    """Install the other queues into an environment of their own."""
    environment = os.environ | {"UV_PROJECT_ENVIRONMENT": str(PEERS.parent)}
    subprocess.run(["uv", "sync", "-q", "--group", "peers"], cwd=ROOT, env=environment, check=True)
