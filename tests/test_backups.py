"""Backups as docs/operations.md prints them, taken under load, and the site started on them."""

import re
import secrets
import shlex
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import requests

from harness.postgresql import Cluster
from harness.processes import ROOT, Site, site
from harness.sink import Sink
from harness.waiting import eventually

PAGE = (ROOT / "docs/operations.md").read_text()
SECTION = PAGE.partition("\n## Backups\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
SAVE_SQLITE, SAVE_POSTGRESQL, RESTORE_SQLITE, RESTORE_POSTGRESQL = BLOCKS
TOKEN = "only-for-the-tests"
DELIVERED = "SELECT message_id FROM broker_message WHERE state = 'DELIVERED'"


class Publisher:
    """Publishes all the time, and knows what has been accepted. Some messages have a delay."""

    def __init__(self, running: Site, target: str) -> None:
        self.address = f"{running.url}/v2/publish/{target}"
        self.accepted: list[str] = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.publish)

    def publish(self) -> None:
        with requests.Session() as http:
            while not self.stopping.is_set():
                delay = secrets.choice(["0s", "0s", "8s"])
                headers = {"Authorization": f"Bearer {TOKEN}", "Upstash-Delay": delay}
                answer = http.post(self.address, b"{}", headers=headers, timeout=30)
                self.accepted.append(answer.json()["messageId"])

    def __enter__(self) -> "Publisher":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopping.set()
        self.thread.join()


def run(block: str, folder: Path, environment: dict[str, str]) -> None:
    """Run commands as they are printed, in the folder that holds the database."""
    text = block.replace("uv run python", shlex.quote(sys.executable))
    done = subprocess.run(
        ["sh", "-e", "-c", text.replace("db.sqlite3", "site.sqlite3")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def back_up_restore_and_compare(
    running: Site,
    sink: Sink,
    save: Callable[[], None],
    restore: Callable[[], None],
    delivered: Callable[[], set[str]],
) -> None:
    """Take a backup under load, lose the site, start it on the backup, wait for what was in it."""
    web = running.start_web()
    with Publisher(running, sink.url) as publisher:
        eventually(lambda: len(publisher.accepted) > 20, what="a load")
        visitor = running.click()
        eventually(lambda: visitor.job()["steps_done"] >= 1, what="a job's first step")
        before = set(publisher.accepted)
        save()
        after = eventually(lambda: set(publisher.accepted) - before, what="messages after it")
    waiting = before - delivered()
    assert waiting, "the backup has no message that was still to be delivered"
    running.stop(web, 9)
    restore()
    running.start_web()
    eventually(lambda: before <= delivered(), 90, what="the delivery of all that was accepted")
    assert visitor.until("succeeded", 60)["steps_done"] == 10
    assert after


@contextmanager
def a_site(folder: Path, database: str = "") -> Iterator[tuple[Site, Sink]]:
    variables = {"BROKER_TOKEN": TOKEN, "BROKER_LEASE_SECONDS": "2"}
    with (
        Sink() as sink,
        site(folder, database, LONG_TASK_TARGET_URL=sink.url, **variables) as running,
    ):
        yield running, sink


def test_sqlite_is_backed_up_and_restored_while_it_is_busy(tmp_path):
    def delivered() -> set[str]:
        with closing(sqlite3.connect(tmp_path / "site.sqlite3", timeout=20)) as database:
            return {name for (name,) in database.execute(DELIVERED)}

    with a_site(tmp_path) as (running, sink):
        back_up_restore_and_compare(
            running,
            sink,
            save=lambda: run(SAVE_SQLITE, tmp_path, running.environment),
            restore=lambda: run(RESTORE_SQLITE, tmp_path, running.environment),
            delivered=delivered,
        )


def test_postgresql_is_backed_up_and_restored_while_it_is_busy(
    tmp_path, cluster: Cluster, postgresql_url
):
    def delivered() -> set[str]:
        with psycopg.connect(running.environment["DATABASE_URL"]) as database:
            return {name for (name,) in database.execute(DELIVERED).fetchall()}

    def restore() -> None:
        name = f"restored_{secrets.token_hex(4)}"  # the cluster is shared
        running.environment["RESTORED_URL"] = f"{postgresql_url.rpartition('/')[0]}/{name}"
        block = RESTORE_POSTGRESQL.replace(" restored\n", f" {name}\n")
        assert block != RESTORE_POSTGRESQL
        run(block, tmp_path, running.environment)
        running.environment["DATABASE_URL"] = running.environment["RESTORED_URL"]

    with a_site(tmp_path, postgresql_url) as (running, sink):
        running.environment["PATH"] += f":{cluster.binaries}"
        back_up_restore_and_compare(
            running,
            sink,
            save=lambda: run(SAVE_POSTGRESQL, tmp_path, running.environment),
            restore=restore,
            delivered=delivered,
        )
