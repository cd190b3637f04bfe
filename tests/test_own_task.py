"""The README's lines for a task of one's own, written into a copy of the project, and run."""

import json
import re
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harness.processes import ROOT, Site, site
from harness.visitor import Visitor
from harness.waiting import eventually

README = (ROOT / "README.md").read_text()
PLACE = re.compile(
    r"(?:At the end of|In) `([\w./]+)`(, below the first form)?:\n\n```\w+\n(.*?)^```",
    re.MULTILINE | re.DOTALL,
)
FOLDERS = [
    "broker",
    "catcher",
    "console",
    "groupcommit",
    "logfields",
    "jobs",
    "jobsite",
    "live",
    "recipes",
    "operations",
    "static",
    "staticfiles",
    "templates",
]
FILES = ["manage.py", "gunicorn.conf.py", "pyproject.toml"]


def own_lines() -> list[tuple[str, str, str]]:
    """(file, where in it, lines) for each piece that section 5 tells to write."""
    section = README.partition("## 5. Your own task")[2].partition("\n## ")[0]
    return PLACE.findall(section)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the lines of the README in it."""
    folder = tmp_path_factory.mktemp("project")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for path, below_form, lines in own_lines():
        file = folder / path
        text = file.read_text()
        if below_form:
            file.write_text(text.replace("</form>", f"</form>\n{lines}", 1))
        else:
            file.write_text(f"{text}\n\n{lines}")
    return folder


@pytest.fixture
def own_site(project: Path, tmp_path: Path) -> Iterator[Site]:
    with site(tmp_path, project=project) as running:
        yield running


def greet(running: Site) -> Visitor:
    """Click the button that the README has added."""
    visitor = Visitor(running.url)
    assert "Greet Ada" in visitor.http.get(running.url, timeout=10).text
    return visitor.click(path="/greet")


def steps(running: Site, visitor: Visitor) -> list[tuple[int, float]]:
    """Number and moment of each step that has been noted."""
    with closing(sqlite3.connect(running.folder / "site.sqlite3")) as connection:
        query = "SELECT log FROM jobs_job WHERE id = ?"
        (log,) = connection.execute(query, [visitor.job_id]).fetchone()
    return [(step["number"], step["at"]) for step in json.loads(log)]


def test_readme_tells_four_pieces():
    assert [path for path, _, _ in own_lines()] == [
        "jobs/tasks.py",
        "jobs/views.py",
        "jobs/urls.py",
        "templates/jobs/index.html",
    ]


def test_own_task_goes_on_after_a_kill_without_repeating_a_step(own_site):
    server = own_site.start_web()
    visitor = greet(own_site)
    eventually(lambda: len(steps(own_site, visitor)) >= 2, what="the second step")
    own_site.stop(server, signal.SIGKILL)
    before = steps(own_site, visitor)
    assert 2 <= len(before) < 5
    own_site.start_web()
    job = visitor.until("succeeded")
    assert job["return_value"] == "Ada has been greeted"
    after = steps(own_site, visitor)
    assert after[: len(before)] == before
    assert [number for number, _ in after] == [1, 2, 3, 4, 5]
