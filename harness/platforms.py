"""Heroku and Render as far as they can be had here: their files are read, and run as they stand.

A project is copied without what git ignores and built by Render's own command, so it has no
dependency that is for development only. Its processes get the variables that the files define
and those that the platform sets, and no others.
"""

import base64
import json
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import yaml

from harness.guard import guard
from harness.processes import ROOT, is_gone
from harness.waiting import eventually

# What uv needs to find packages where pytest's own uv found them.
PASSED_ON = ("UV_CACHE", "UV_INDEX", "UV_DEFAULT_INDEX", "UV_PYTHON_", "HTTP", "http", "NO_PROXY")


def procfile() -> dict[str, str]:
    """The commands of the Procfile, by the name of their process."""
    lines = (ROOT / "Procfile").read_text().splitlines()
    return {name: command.strip() for name, _, command in (line.partition(":") for line in lines)}


def app_json() -> dict[str, Any]:
    return dict(json.loads((ROOT / "app.json").read_text()))


def blueprint() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "render.yaml").read_text()))


def machine(*folders: Path) -> dict[str, str]:
    """What every machine has; these folders come first where programs are looked for."""
    uv = shutil.which("uv") or ""
    path = [*map(str, folders), str(Path(uv).parent), "/usr/local/bin", "/usr/bin", "/bin"]
    return {"PATH": ":".join(path), "HOME": os.environ["HOME"], "LANG": "C.UTF-8"}


def heroku_variables(database_url: str) -> dict[str, str]:
    """The config vars of an app that was made from app.json."""
    made = {
        name: secrets.token_hex(32) if entry.get("generator") else entry.get("value", "")
        for name, entry in app_json()["env"].items()
        if entry.get("required", True)
    }
    # Heroku's URLs begin with the older name.
    return made | {"DATABASE_URL": database_url.replace("postgresql://", "postgres://")}


def render_variables(database_url: str) -> dict[str, str]:
    """The variables of the service in render.yaml."""

    def value_of(entry: dict[str, Any]) -> str:
        if entry.get("generateValue"):
            return base64.b64encode(secrets.token_bytes(32)).decode()
        return database_url if "fromDatabase" in entry else str(entry["value"])

    (service,) = blueprint()["services"]
    return {entry["key"]: value_of(entry) for entry in service["envVars"]}


def build(folder: Path) -> Path:
    """Copy the project, and build it as Render does."""
    ignored = (ROOT / ".gitignore").read_text().replace("/", "").split()
    project = folder / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".git", "tests", *ignored))
    passed_on = {k: v for k, v in os.environ.items() if k.startswith(PASSED_ON)}
    platform = {"RENDER": "true", "RENDER_EXTERNAL_URL": "https://jobs.onrender.com"}
    variables = render_variables("postgresql://user:password@127.0.0.1/jobs")
    (service,) = blueprint()["services"]
    done = run(service["buildCommand"], project, machine() | passed_on | variables | platform)
    assert done.returncode == 0, done.stdout
    return project


def uncompiled(project: Path) -> list[str]:
    """The modules of a project whose bytecode is missing, without those of hidden folders."""
    modules = [file.relative_to(project) for file in project.rglob("*.py")]
    return [
        module.as_posix()
        for module in modules
        if not any(part.startswith(".") for part in module.parts)
        and not list((project / module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"))
    ]


def run(command: str, project: Path, environment: dict[str, str]) -> subprocess.CompletedProcess:
    """Run a command of one of the files to its end, as a shell does."""
    return subprocess.run(
        ["sh", "-c", command],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )


class Running:
    """A process of one of the files, with a log of its own."""

    def __init__(
        self, command: str, project: Path, environment: dict[str, str], file: Path
    ) -> None:
        self.file = file
        with file.open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", command],
                cwd=project,
                env=guard.marked(environment),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self.file.read_text()

    def stop(self, everybody: bool) -> int:
        """Stop as the platform does: SIGTERM to all processes, or to the first one only."""
        processes = psutil.Process(self.process.pid).children(recursive=True)
        if everybody:
            os.killpg(self.process.pid, signal.SIGTERM)
        else:
            self.process.terminate()
        code = self.process.wait(timeout=30)
        eventually(lambda: all(map(is_gone, processes)), 30, "the end of all processes")
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
