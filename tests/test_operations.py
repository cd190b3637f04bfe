"""What docs/operations.md says is so: its commands run, its log lines are written."""

import ast
import functools
import re
import shlex
import subprocess
import sys

import pytest
from django.core.management import get_commands, load_command_class

from harness.processes import ROOT, site
from harness.waiting import eventually

PAGE = (ROOT / "docs/operations.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]
OURS = [command for command in COMMANDS if "uv run " in command]
LOG = PAGE.partition("## The log")[2].partition("\n## ")[0]
TEXTS = re.findall(r"^\| `(.+?)` \| (\w+) \|", LOG, re.MULTILINE)
PACKAGES = ("broker", "groupcommit", "jobs", "jobsite", "live", "operations")
# These are set for gunicorn and by the tests' own machinery.
OTHERS_VARIABLES = {"CI", "FORWARDED_ALLOW_IPS", "GET", "HEAD", "POST", "SIGKILL", "SIGTERM"}


def program_of(command: str) -> tuple[list[str], list[str]]:
    """How to start the program of a command without uv, and its arguments."""
    words = shlex.split(command.partition("uv run ")[2])
    if words[0] == "manage.py":
        return [sys.executable, *words[:2]], words[2:]
    if words[0] == "python":
        return [sys.executable, *words[1:3]], words[3:]
    if words[0].endswith(".py"):
        return [sys.executable, words[0]], words[1:]
    return [sys.executable, "-m", words[0]], words[1:]


@functools.cache
def help_of(*program: str) -> str:
    """What a program prints about its options; a management command without a process."""
    if program[1] == "manage.py":
        name = program[2]
        app = get_commands()[name]
        return load_command_class(app, name).create_parser("manage.py", name).format_help()
    done = subprocess.run([*program, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", OURS)
def test_options_are_accepted(command):
    program, arguments = program_of(command)
    if options := {word for word in arguments if word.startswith("-")}:
        assert options <= set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", help_of(*program)))


@pytest.mark.parametrize("command", OURS)
def test_program_and_paths_exist(command):
    program, arguments = program_of(command)
    paths = [word for word in [program[-1], *arguments] if "/" in word]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    if program[1] == "manage.py":
        assert program[2] in get_commands()
    if "-m" in program and "." in program[-1]:
        assert (ROOT / f"{program[-1].replace('.', '/')}.py").is_file()


def test_every_other_command_is_known():
    assert {command.split()[0] for command in COMMANDS if command not in OURS} == {
        "curl",
        *("cp", "createdb", "pg_dump", "pg_restore", "rm"),  # test_backups.py runs these
        "kill",  # test_rolling_restart.py sends the signal
    }


def test_site_goes_live_as_it_is_printed_and_answers_the_health_check(tmp_path):
    *steps, last = BLOCKS[0].splitlines()
    [check] = [command for command in COMMANDS if command.startswith("curl ")]
    with site(tmp_path) as running:
        (tmp_path / "site.sqlite3").unlink()
        running.environment["PUBLIC_URL"] = "https://jobs.example.com"
        for command in steps:
            program, arguments = program_of(command)
            # The files are collected already, and other tests are serving them.
            extra = ["--dry-run"] if "collectstatic" in program else []
            done = run([*program, *arguments, *extra], running.environment)
            assert done.returncode == 0, done.stderr
        assert last == "uv run gunicorn"
        running.start_web()
        url = check.replace("127.0.0.1:8000", f"127.0.0.1:{running.port}")
        eventually(
            lambda: '"dispatcher": "ok"' in run(shlex.split(url), running.environment).stdout,
            what="the first sign of life",
        )


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def logged() -> dict[str, str]:
    """Each text that our code logs as it stands, with its level."""
    found = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                match node:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name("logger"), attr=level),
                        args=[ast.Constant(str(text)), *_],
                    ):
                        found[text] = "error" if level == "exception" else level
    return found


@pytest.mark.parametrize(("text", "level"), TEXTS)
def test_text_to_look_for_is_logged(text, level):
    assert logged()[text] == level


def test_every_warning_and_error_is_explained():
    serious = {text for text, level in logged().items() if level in {"warning", "error"}}
    assert serious - dict(TEXTS).keys() == set()


def test_variables_are_in_the_example():
    named = set(re.findall(r"`([A-Z][A-Z_]+)(?:=\w*)?`", PAGE)) - OTHERS_VARIABLES
    example = set(re.findall(r"^([A-Z_]+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert named <= example


def test_time_limits_are_the_ones_in_force():
    assert "graceful_timeout = 28\n" in (ROOT / "gunicorn.conf.py").read_text()
    assert "maxShutdownDelaySeconds: 30\n" in (ROOT / "render.yaml").read_text()
    assert "GRACE_SECONDS = 25.0\n" in (ROOT / "broker/dispatcher.py").read_text()


@pytest.mark.parametrize("anchor", re.findall(r"\(#([\w-]+)\)", PAGE))
def test_link_within_the_page_leads_somewhere(anchor):
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
