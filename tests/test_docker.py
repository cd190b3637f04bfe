"""Dockerfile and compose.yaml: checked by Docker's rules, and their steps run without Docker."""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
import yaml
from django.core.management import get_commands

from broker.management.commands.broker import Command
from harness.guard import guard
from harness.platforms import uncompiled
from harness.processes import ROOT, free_port
from harness.sink import Sink
from harness.waiting import eventually
from jobs.signatures import verify
from jobsite.broker_settings import DEVELOPMENT_USERS
from tests.conftest import skip_or_fail
from tests.dockerfile import Container, Instruction, context, instructions, left_out, stages

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "compose.yaml").read_text()
PAGE = (ROOT / "docs/deploy.md").read_text().partition("## Docker")[2].partition("\n## ")[0]
TARGETS = ("site", "queue")
FLAGS = {"--rm", "-d", "--read-only"}
USER = DEVELOPMENT_USERS["defaultUser"]


def program(name: str) -> str:
    """One of the programs of the dependency group `containers`."""
    if found := shutil.which(name):
        return found
    skip_or_fail(f"{name} is not installed; enable with: uv sync --group containers")
    return ""


def in_image(target: str) -> dict[str, Instruction]:
    """The last instruction of each kind that an image is made of."""
    every = stages(DOCKERFILE)
    line = [target]
    while (base := every[line[0]][0].words[0]) in every:
        line.insert(0, base)
    return {step.name: step for name in line for step in every[name]}


def test_dockerfile_is_clean():
    done = subprocess.run(
        [program("hadolint"), "Dockerfile"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_images_are_pinned():
    named = {step.words[0] for step in instructions(DOCKERFILE) if step.name == "FROM"}
    named |= {step.option("from") for step in instructions(DOCKERFILE) if step.name == "COPY"}
    named |= {each.get("image", "") for each in yaml.safe_load(COMPOSE)["services"].values()}
    images = named - stages(DOCKERFILE).keys() - {""}
    assert len(images) == 3
    assert [image for image in images if not re.fullmatch(r"[\w/-]+:\d[\w.-]*", image)] == []


def test_default_image_is_the_site():
    assert list(stages(DOCKERFILE))[-1] == "site"


@pytest.mark.parametrize("target", TARGETS)
def test_image_runs_without_root_and_hears_signals(target):
    image = in_image(target)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", image["USER"].text)
    assert image["STOPSIGNAL"].text == "SIGTERM"
    start = image.get("ENTRYPOINT") or image["CMD"]
    assert start.text.startswith("[")
    if start.words[0] == "sh":
        assert " exec " in start.words[-1]
    assert "CMD [" in image["HEALTHCHECK"].text


def test_no_secret_is_baked_in():
    assert [step for step in instructions(DOCKERFILE) if step.name == "ARG"] == []
    kept = [word for step in instructions(DOCKERFILE) if step.name == "ENV" for word in step.words]
    secret = re.compile(r"SECRET_KEY=|TOKEN|PASSWORD|SIGNING_KEY")
    assert [word for word in kept if secret.search(word)] == []


def test_context_has_the_code_and_nothing_else():
    files = context()
    assert {"manage.py", "uv.lock", "jobs/tasks.py", "templates/base.html"} <= set(files)
    folders = {file.partition("/")[0] for file in files}
    assert not folders & {".env", ".git", "tests", "harness", "benchmarks", "docs", "Dockerfile"}


@pytest.mark.parametrize(
    ("path", "out"),
    [("a", True), ("b/c", False), ("b/x/__pycache__/y", True), ("b", False), ("bb", True)],
)
def test_last_pattern_that_fits_decides(path, out):
    assert left_out(path, ["*", "!b/", "**/__pycache__/"]) is out


@pytest.mark.parametrize("variables", [{}, {"PUBLIC_URL": "https://jobs.example.com"}])
def test_compose_file_is_valid_and_waits_for_the_database(variables, tmp_path):
    command = [program("docker-compose"), "-f", ROOT / "compose.yaml", "config", "--format", "json"]
    environment = {"PATH": os.environ["PATH"], "POSTGRES_PASSWORD": "given"} | variables
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    site, database = services["site"], services["database"]
    assert site["depends_on"]["database"]["condition"] == "service_healthy"
    assert database["healthcheck"]["test"][0] == "CMD"
    assert site["environment"]["DATABASE_URL"] == "postgresql://jobs:given@database/jobs"
    assert site["environment"]["PUBLIC_URL"] == variables.get("PUBLIC_URL", "http://127.0.0.1:8000")
    assert (site["read_only"], site["cap_drop"], site["ports"][0]["host_ip"]) == (
        True,
        ["ALL"],
        "127.0.0.1",
    )
    assert "ports" not in database


def test_compose_file_needs_a_password(tmp_path):
    command = [program("docker-compose"), "-f", ROOT / "compose.yaml", "config"]
    environment = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "POSTGRES_PASSWORD" in done.stderr
    assert done.returncode != 0


def test_compose_file_uses_the_stages_of_the_dockerfile():
    services = yaml.safe_load(COMPOSE)["services"].values()
    targets = {each["build"]["target"] for each in services if "build" in each}
    assert targets <= stages(DOCKERFILE).keys()


@contextmanager
def running(container: Container, log: Path, *arguments: str) -> Iterator[None]:
    """The container's process, until SIGTERM ends it with exit code 0."""
    before = container.files()
    with log.open("ab") as output:
        command = container.command(*arguments)
        options = container.options()
        options["env"] = guard.marked(options["env"])
        process = subprocess.Popen(
            command, stdout=output, stderr=output, start_new_session=True, **options
        )
    try:
        eventually(lambda: answers(container, process), seconds=120, what="the start")
        assert container.is_healthy()
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, log.read_text()
    except AssertionError as error:
        raise AssertionError(f"{error}\n{log.read_text()}") from error
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert container.files() == before  # the root may be read-only


def answers(container: Container, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    try:
        url = f"http://127.0.0.1:{container.variables['PORT']}/healthz"
        return requests.get(url, timeout=30).status_code == 200
    except requests.ConnectionError:
        return False


def test_images_are_built_and_run_in_an_empty_folder(tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    container = Container(tmp_path, PORT=str(port), PUBLIC_URL=url).build(DOCKERFILE, "site")
    assert not container.is_healthy()
    assert uncompiled(container.root / "app") == []  # an image has no place for bytecode later
    with running(container, tmp_path / "site.log"):
        assert "Start Background Job" in requests.get(url, timeout=30).text
        assert requests.get(f"{url}/how-it-works", timeout=30).status_code == 200
    assert {"db.sqlite3", "secret-key"} <= container.data()
    container.build(DOCKERFILE, "queue")
    arguments = ["--development-users", "--port", str(port)]
    with Sink() as sink, running(container, tmp_path / "queue.log", *arguments):
        published_and_delivered(url, sink)
    assert "broker.sqlite3" in container.data()


def published_and_delivered(url: str, sink: Sink) -> None:
    """A message of the published user arrives, signed with the published key."""
    headers = {"Authorization": f"Bearer {USER['token']}"}
    to = f"{url}/v2/publish/{sink.url}"
    requests.post(to, b"hello", headers=headers, timeout=30).raise_for_status()
    (request,) = eventually(lambda: sink.requests, what="the delivery")
    verify(request["headers"]["Upstash-Signature"], b"hello", sink.url, [USER["current"]])


def test_queue_in_a_container_keeps_the_published_user_out_by_itself():
    assert "--development-users" not in DOCKERFILE


def test_commands_of_the_page_name_what_there_is():
    assert set(re.findall(r"--target (\w+)", PAGE)) <= stages(DOCKERFILE).keys()
    ports = {step.text for step in instructions(DOCKERFILE) if step.name == "EXPOSE"}
    assert set(re.findall(r"-p 127\.0\.0\.1:\d+:(\d+)", PAGE)) == ports
    assert len(re.findall(r"-p \S+", PAGE)) == len(re.findall(r"-p 127\.0\.0\.1:", PAGE))


def image_and_arguments(command: str) -> tuple[str, list[str]]:
    """What `docker run` is told to run, and the arguments for it."""
    built = re.sub(r'"\$\(docker build -q --target (\w+) \.\)"', r"\1", command)
    words = shlex.split(built)[2:]
    while words[0].startswith("-"):
        del words[: 1 if words[0] in FLAGS else 2]
    return words[0], words[1:]


@pytest.mark.parametrize("command", re.findall(r"^docker run .*$", PAGE, re.MULTILINE))
def test_images_of_the_page_take_the_arguments(command):
    image, arguments = image_and_arguments(command)
    if image == "queue":
        given = Command().create_parser("manage.py", "broker").parse_args(arguments)
        assert given.development_users is ("--rm" in command)
    else:
        assert (image, arguments) == ("background-jobs", [])
    assert f"docker build -t {image}" in PAGE


def test_commands_of_django_exist():
    names = set(re.findall(r"manage\.py (\w+)", PAGE + DOCKERFILE))
    assert {"doctor", "migrate_locked"} <= names <= get_commands().keys()
