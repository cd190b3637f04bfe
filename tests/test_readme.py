"""What the README says is so: its excerpts are in the code, its commands exist."""

import re
from pathlib import Path

import pytest

from harness.processes import ROOT

README = "\n".join(
    file.read_text() for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
EXCERPTS = [
    code
    for language, code in BLOCKS
    if language in {"python", "html"} and "qstash" not in code  # run by tests/clients/test_docs.py
]
COMMANDS = [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]


def sources(*patterns: str) -> str:
    """All our code in one text, its lines without indentation."""
    files = [file for pattern in patterns for file in sorted(ROOT.glob(pattern))]
    return "\n".join(line.strip() for file in files for line in file.read_text().splitlines())


@pytest.mark.parametrize("excerpt", EXCERPTS)
def test_excerpt_is_in_the_code(excerpt):
    code = sources("job*/*.py", "templates/**/*.html")
    assert "\n".join(line.strip() for line in excerpt.strip().splitlines()) in code


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w./]+\.(?:py|html|yaml))`", README))))
def test_file_that_is_named_exists(path):
    assert (ROOT / path).is_file()


def test_first_command_serves_and_second_one_tests():
    assert COMMANDS[0] == "pip install uv && uv run manage.py dev"
    assert COMMANDS[1] == "pip install uv && uv run pytest"


@pytest.mark.parametrize("command", [line for line in COMMANDS if "uv run" in line])
def test_program_that_is_run_exists(command):
    program = command.partition("uv run ")[2].split()
    if program[0] == "manage.py":
        name = program[1]
        known = {"migrate", "collectstatic", "check"}
        assert name in known or list(ROOT.glob(f"*/management/commands/{name}.py"))
    elif program[0].endswith(".py"):
        assert (ROOT / program[0]).is_file()
    else:
        assert program[0] in {"gunicorn", "mypy", "pytest", "python", "ruff"}


def test_broker_knows_nothing_of_jobs_and_only_queues_knows_the_broker():
    def imports(folder: str, package: str) -> list[Path]:
        pattern = re.compile(rf"^\s*(?:from|import) {package}\b", re.MULTILINE)
        return [file for file in (ROOT / folder).rglob("*.py") if pattern.search(file.read_text())]

    assert imports("broker", "jobs") == imports("catcher", "jobs") == []
    files = {file.name for file in imports("jobs", "broker")}
    assert files <= {"queues.py", "dev.py"}
