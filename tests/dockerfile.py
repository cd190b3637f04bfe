"""Run a Dockerfile's steps in a folder instead of in a container, as far as that can be done.

The folder stands for the root of the file system: `/app` and `/data` in the Dockerfile mean folders
in it. Stages, COPY (by .dockerignore), RUN, ENV and the command are as in Docker. Not as in Docker:
the base image is this machine, the user is the one who runs this, and a file that is copied from
stage to stage is linked, as nothing may change it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, Self

from harness.processes import ROOT

# Where a package installer finds its packages and what it has of them is this machine's.
PASSED_ON = re.compile(r"UV_(?!COMPILE|LINK|PYTHON).*|PIP_.*|HOME|SSL_.*|.*_proxy", re.IGNORECASE)
FOLDERS = ("/app", "/data")


class Instruction(NamedTuple):
    """One instruction on one line."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """What it names, without options; the JSON form as its list."""
        text = re.sub(r"^(?:--\S+\s+)*", "", self.text)
        return [str(word) for word in json.loads(text)] if text.startswith("[") else text.split()

    def option(self, name: str) -> str:
        found = re.search(rf"--{name}=(\S+)", self.text)
        return found[1] if found else ""


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile without here-documents."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    whole = re.sub(r"\\\n\s*", "", lines).splitlines()
    return [Instruction(*line.split(maxsplit=1)) for line in whole if line.strip()]


def stages(text: str) -> dict[str, list[Instruction]]:
    """The instructions of each named stage, its FROM first."""
    found: dict[str, list[Instruction]] = {}
    for instruction in instructions(text):
        if instruction.name == "FROM":
            current = found.setdefault(instruction.words[2], [])
        current.append(instruction)
    return found


def left_out(path: str, patterns: list[str]) -> bool:
    """Whether .dockerignore keeps a path out: the last pattern that fits it, or a folder above it,
    decides. https://docs.docker.com/build/concepts/context/#dockerignore-files
    """
    parts, out = path.split("/"), False
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    for pattern in patterns:
        plain = re.escape(pattern.lstrip("!").strip("/"))
        regex = plain.replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(regex, each) for each in above):
            out = not pattern.startswith("!")
    return out


def context() -> list[str]:
    """The files that Docker is given: those of the repository that .dockerignore lets in."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line.strip() and not line.startswith("#")]
    tracked = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(tracked, cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    return [name for name in names if not left_out(name, patterns)]


class Container:
    """A folder in which stages are built, one on the other; then what the last one says."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder, self.root = folder, folder / "root"
        self.variables = {k: v for k, v in os.environ.items() if PASSED_ON.fullmatch(k)} | variables
        self.environment: dict[str, str] = {}
        self.work = self.root
        self.said: dict[str, Instruction] = {}
        self.built: dict[str, tuple[dict[str, str], Path, dict[str, Instruction]]] = {}

    def build(self, text: str, target: str) -> Self:
        """Build the target and the stages that it needs, in the order of the file."""
        every = stages(text)
        base, line = every[target][0].words[0], [target]
        while base in every:
            line, base = [base, *line], every[base][0].words[0]
        copied = {step.option("from") for name in line for step in every[name]} & every.keys()
        for name in [*sorted(copied), *line]:
            if name not in self.built:
                for step in every[name]:
                    getattr(self, f"do_{step.name.lower()}", self.note)(step)
                self.built[name] = (dict(self.environment), self.work, dict(self.said))
                if name in copied:
                    self.root.rename(self.folder / name)
        return self

    def note(self, step: Instruction) -> None:
        """Remember what is for later: the command, the health check, the user."""
        self.said[step.name] = step

    def do_from(self, step: Instruction) -> None:
        if (base := step.words[0]) in self.built:
            environment, self.work, said = self.built[base]
            self.environment, self.said = dict(environment), dict(said)
            return  # the files are shared
        self.root.mkdir(parents=True)
        paths = [Path(sys.base_prefix) / "bin", "/usr/bin", "/bin"]
        self.environment = {"PATH": ":".join(map(str, paths))}
        self.work, self.said = self.root, {}

    def do_workdir(self, step: Instruction) -> None:
        self.work = Path(self.translated(step.text))
        self.work.mkdir(exist_ok=True)

    def do_env(self, step: Instruction) -> None:
        known = self.environment
        for word in step.words:
            name, _, value = word.partition("=")
            filled = re.sub(r"\$(\w+)", lambda found: known[found[1]], value)
            known[name] = self.translated(filled)

    def do_copy(self, step: Instruction) -> None:
        *sources, to = step.words
        source = step.option("from")
        if (self.folder / source).is_dir() and source:
            (name,) = sources
            where = f"{self.folder / source}{name}"
            linked = {"symlinks": True, "dirs_exist_ok": True, "copy_function": os.link}
            shutil.copytree(where, self.translated(to), **linked)
        elif source:
            self.copy_program(to)
        else:
            self.copy_context(sources, self.work / to)

    def copy_program(self, to: str) -> None:
        """A program of another image: this machine's of the same name."""
        file = self.root / to.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        found = shutil.which(file.name, path=str(Path(sys.executable).parent)) or shutil.which(
            file.name
        )
        assert found, file.name
        file.symlink_to(found)
        self.environment["PATH"] = f"{file.parent}:{self.environment['PATH']}"

    @staticmethod
    def copy_context(sources: list[str], to: Path) -> None:
        for name in context():
            if sources == ["."] or name in sources:
                (to / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, to / name)

    def do_run(self, step: Instruction) -> None:
        command = ["/bin/sh", "-c", self.translated(step.text)]
        done = subprocess.run(command, capture_output=True, text=True, **self.options())
        assert done.returncode == 0, done.stdout + done.stderr

    def translated(self, text: str) -> str:
        """A text of the Dockerfile with this folder in place of the root."""
        for folder in FOLDERS:
            text = text.replace(folder, f"{self.root}{folder}")
        return text

    def options(self) -> dict[str, Any]:
        """How a process in the container is started."""
        return {"cwd": self.work, "env": self.environment | self.variables}

    def command(self, *arguments: str) -> list[str]:
        """What the container runs: ENTRYPOINT and CMD, or arguments in place of the latter."""
        start = self.said["ENTRYPOINT"].words if "ENTRYPOINT" in self.said else []
        default = self.said["CMD"].words if "CMD" in self.said else []
        return [self.translated(word) for word in [*start, *(arguments or default)]]

    def is_healthy(self) -> bool:
        """What Docker's health check would find."""
        check = Instruction("CMD", self.said["HEALTHCHECK"].text.partition("CMD ")[2])
        return subprocess.run(check.words, capture_output=True, **self.options()).returncode == 0

    def files(self) -> dict[str, int]:
        """The files outside /data, each with the time of its last change."""
        app = self.root / "app"
        return {str(file): file.lstat().st_mtime_ns for file in app.rglob("*")}

    def data(self) -> set[str]:
        """The names of the files in /data."""
        return {file.name for file in (self.root / "data").iterdir()}
