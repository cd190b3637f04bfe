"""A PostgreSQL of our own: an empty cluster in a temporary folder.

`uv run python -m harness.postgresql pytest` runs the whole suite on it.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

import psycopg

from harness.guard import guard
from harness.processes import START_SECONDS, exit_on_sigterm, free_port


def binaries() -> Path | None:
    """Where initdb and pg_ctl are; None if PostgreSQL's server is not installed."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


class Cluster:
    """Start with `with Cluster() as cluster`; stopped and deleted at the end."""

    def __init__(self, folder: str = "", port: int = 0) -> None:
        programs = binaries()
        if programs is None:
            raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
        self.binaries = programs
        self.folder, self.port = folder or tempfile.mkdtemp(), port or free_port()
        self.data = Path(self.folder) / "data"
        self.url = f"postgresql://tests@127.0.0.1:{self.port}/postgres"

    @property
    def note(self) -> str:
        """What another process must know of it."""
        return f"{self.port} {self.folder}"

    @classmethod
    def noted(cls, note: str) -> Self:
        """A cluster that another process has started."""
        port, _, folder = note.partition(" ")
        return cls(folder, int(port))

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs; as root, which it refuses, as its own user."""
        as_user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        subprocess.run(
            [self.binaries / program, "-D", self.data, *arguments],
            user=as_user if os.getuid() == 0 else None,
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    def start(self) -> Self:
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
        self.run("initdb", "--username=tests", "--auth=trust", "--encoding=UTF8", "--no-sync")
        self.launch()
        return self

    def launch(self) -> None:
        """Start the server, also once more after `halt`."""
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        log = str(Path(self.folder) / "log")
        self.run("pg_ctl", "-w", "-t", str(START_SECONDS), "-o", options, "-l", log, "start")

    def halt(self, mode: str = "immediate") -> None:
        """Stop the server and keep its data; `mode` is one of pg_ctl's."""
        self.run("pg_ctl", "-w", "-m", mode, "stop")

    def stop(self) -> None:
        self.halt()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:  # interrupted, perhaps while it was starting
            with suppress(subprocess.CalledProcessError):
                self.stop()
            raise
        self.watch()
        return self

    def watch(self) -> None:
        """Have the server end with this program."""
        postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        guard.watch(postmaster, signal.SIGQUIT)

    def __exit__(self, *error: object) -> None:
        self.stop()

    def new_database(self, template: str) -> str:
        """A copy of a database, which nobody may be connected to; its URL."""
        name = f"copy_{secrets.token_hex(4)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"{self.url.rpartition('/')[0]}/{name}"


if __name__ == "__main__":
    exit_on_sigterm()
    with Cluster() as cluster:
        environment = os.environ | {"DATABASE_URL": cluster.url}
        sys.exit(subprocess.run(sys.argv[1:], env=environment).returncode)
