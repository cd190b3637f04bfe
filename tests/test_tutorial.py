"""What docs/tutorial.md says is so: excerpts, files, pages, commands, the site that it moves."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import requests
from django.core.management import get_commands
from django.urls import resolve

from harness.excerpts import EXCERPT, definitions, refreshed
from harness.processes import ROOT, START_SECONDS, free_port, start_process
from harness.waiting import eventually

PAGE = (ROOT / "docs/tutorial.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]
MOVING = PAGE.partition("## Move an existing site")[2]
OWN = ("mysite/", "shop/")
EXCERPTS = [pair for pair in EXCERPT.findall(PAGE) if not pair[0].startswith(OWN)]
NAMED = set(re.findall(r"`((?!mysite/|shop/|src/)[\w./]+\.(?:py|html|md))`", PAGE))
PATHS = set(re.findall(r"`(/(?!v2)[\w/-]*)`", PAGE))


def test_every_program_on_the_page_is_labelled_with_its_file():
    programs = [code for language, code in BLOCKS if language == "python"]
    assert programs == [code for _, code in EXCERPT.findall(PAGE)]
    assert len(EXCERPTS) >= 8


@pytest.mark.parametrize(("path", "code"), EXCERPTS, ids=[path for path, _ in EXCERPTS])
def test_excerpt_is_whole_and_in_its_file(path, code):
    whole = definitions((ROOT / path).read_text())
    parts = definitions(code)
    assert parts
    assert {name: whole.get(name) for name in parts} == parts


def test_excerpts_are_as_the_command_writes_them():
    assert refreshed(PAGE) == PAGE


@pytest.mark.parametrize("path", sorted(NAMED - {"manage.py", "tasks.py", "queue.md"}))
def test_file_that_is_named_exists(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("path", sorted(PATHS))
def test_page_that_is_named_exists(path):
    assert resolve(path)


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`([\w/]+\.py)`: `(\w+)`", PAGE))))
def test_definition_that_is_named_is_in_its_file(file):
    path, name = file
    assert name in definitions((ROOT / path).read_text())


@pytest.mark.parametrize("command", [line for line in COMMANDS if "manage.py" in line])
def test_command_exists(command):
    name = command.split()[3]
    assert name in get_commands()


def test_every_other_command_is_known():
    others = [line.split()[0] for line in COMMANDS if "manage.py" not in line]
    assert others == ["curl", "uv"]


def test_json_that_is_sent_is_answered_as_the_page_says(client, transactional_db, settings):
    (curl,) = [line for line in COMMANDS if line.startswith("curl")]
    url, kind, body = re.fullmatch(
        r"curl (\S+) -H \"Content-Type: (\S+)\" -d '(.+)'", curl
    ).groups()
    settings.MAIL_IS_ON = True
    path = url.removeprefix("http://127.0.0.1:8000")
    answer = client.post(path, body, content_type=kind)
    assert answer.status_code == 200
    assert "bob@example" in answer.text


def test_packages_to_install_are_those_of_the_project():
    (command,) = [line for line in COMMANDS if line.startswith("uv add")]
    known = (ROOT / "pyproject.toml").read_text()
    for package in re.findall(r'"?([a-z-]{4,})(?:~=[\d.]+)?"?', command.removeprefix("uv add ")):
        assert f'"{package}' in known


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new Django site, changed as the page says."""
    folder = tmp_path_factory.mktemp("moved")
    django = [sys.executable, "-m", "django"]
    subprocess.run([*django, "startproject", "mysite", "."], cwd=folder, check=True)
    subprocess.run([*django, "startapp", "shop"], cwd=folder, check=True)
    for name in re.findall(r"`(\w+)/`", MOVING.partition("copy ")[2].partition("beside")[0]):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    pieces = re.findall(
        r"`((?:mysite|shop)/\w+\.py)`:\n\n```python\n(.*?)^```", MOVING, re.MULTILINE | re.DOTALL
    )
    assert len(pieces) == 4
    for path, code in pieces:
        file = folder / path
        old = file.read_text() if path.startswith("mysite/") else ""
        file.write_text(f"{old}\n{code}")
    settings = folder / "mysite/settings.py"
    settings.write_text(settings.read_text() + 'INSTALLED_APPS += ["shop"]\n')
    return folder


@contextmanager
def running(folder: Path, log: Path, *commands: list[str]) -> Iterator[None]:
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    with log.open("ab") as output:
        processes = [
            start_process(
                ["manage.py", *command], cwd=folder, env=kept, stdout=output, stderr=output
            )
            for command in commands
        ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


# These come from `.env`, and not from whoever runs the tests.
SETTINGS = {
    *("ALLOWED_HOSTS", "BROKER_TOKEN", "DATABASE_URL", "DEBUG", "DJANGO_SETTINGS_MODULE"),
    *(
        "LONG_TASK_TARGET_URL",
        "PUBLIC_URL",
        "QSTASH_CURRENT_SIGNING_KEY",
        "QSTASH_NEXT_SIGNING_KEY",
    ),
    *("QSTASH_TOKEN", "QSTASH_URL", "RUN_DISPATCHER", "SECRET_KEY"),
}


def test_site_that_was_moved_runs_a_task(moved, tmp_path):
    port = free_port()
    (environment,) = [code for language, code in BLOCKS if language == "ini"]
    (moved / ".env").write_text(environment.replace("8000", str(port)))
    log, url = tmp_path / "log", f"http://127.0.0.1:{port}"
    migrate, serve, dispatch = [
        line.split()[3:] for line in re.findall(r"^uv run manage.py .+$", MOVING, re.MULTILINE)
    ]
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, "manage.py", *migrate]
    done = subprocess.run(command, cwd=moved, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    def enqueue() -> str:
        try:
            answer = requests.get(f"{url}/welcome", timeout=30)
        except requests.ConnectionError:
            return ""
        assert answer.status_code == 200, log.read_text()
        return answer.text

    with running(moved, log, [*serve, "--noreload", str(port)], dispatch):
        job_id = eventually(enqueue, START_SECONDS, "the start of the site")
        eventually(lambda: status_of(moved, job_id) == "succeeded", START_SECONDS, "the job's end")


def status_of(folder: Path, job_id: str) -> str:
    with closing(sqlite3.connect(folder / "db.sqlite3", timeout=20)) as connection:
        query = "SELECT status FROM jobs_job WHERE id = ?"
        (status,) = connection.execute(query, [job_id]).fetchone()
    return status
