"""What the README and the pages in docs/ say is so: excerpts, files, commands, states."""

import ast
import re
import textwrap
from pathlib import Path

import pytest

from harness.processes import ROOT
from tests.jobs.test_models import LEGAL, SAME

README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
# An excerpt follows a paragraph that ends with the name of its file; the lines of one's own task
# follow a paragraph that says where in the file to write them (see test_own_task.py).
EXCERPTS = re.findall(
    r"`([\w./]+\.(?:py|html))`:\n\n```(?:python|html)\n(.*?)^```", README, re.MULTILINE | re.DOTALL
)
COMMANDS = [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]
NAMED = re.findall(r"`([\w./]+\.(?:py|html|yaml|example))`", README)


def is_own(code: str) -> bool:
    return "greet" in code


def definitions(code: str) -> list[str]:
    """The source of each statement at the top level, decorators included."""
    lines = code.splitlines()
    found = []
    for node in ast.parse(code).body:
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
        found.append("\n".join(lines[first - 1 : node.end_lineno]))
    return found


def test_every_program_on_the_page_is_labelled_with_its_file():
    programs = [code for language, code in BLOCKS if language in {"python", "html"}]
    labelled = {code for _, code in EXCERPTS}
    assert {code for code in programs if not is_own(code)} <= labelled
    assert len(labelled) >= 5


@pytest.mark.parametrize(
    ("path", "code"), [pair for pair in EXCERPTS if not is_own(pair[1])], ids=lambda x: x[:40]
)
def test_excerpt_is_whole_and_in_its_file(path, code):
    text = (ROOT / path).read_text()
    if path.endswith(".html"):
        assert code in text
    else:
        whole = definitions(text)
        assert all(part in whole for part in definitions(code))


def test_smallest_version_is_shown_whole():
    code = dict(EXCERPTS)["examples/smallest.py"]
    assert code == (ROOT / "examples/smallest.py").read_text()


@pytest.mark.parametrize("path", sorted(set(NAMED)))
def test_file_that_is_named_exists(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_first_command_serves_and_second_one_tests():
    assert COMMANDS[0] == "pip install uv && uv run manage.py dev"
    assert COMMANDS[1] == "pip install uv && uv run pytest"


@pytest.mark.parametrize("command", [line for line in COMMANDS if "uv run" in line])
def test_program_that_is_run_exists(command):
    program = command.partition("uv run ")[2].split()
    if program[0] == "manage.py":
        assert list(ROOT.glob(f"*/management/commands/{program[1]}.py"))
    elif program[0].endswith(".py"):
        assert (ROOT / program[0]).is_file()
    else:
        assert program[0] == "pytest"


def test_variables_that_are_named_are_in_the_example():
    known = (ROOT / ".env.example").read_text()
    for name in set(re.findall(r"\b(QSTASH_\w+|PUBLIC_URL|LONG_TASK_TARGET_URL)\b", README)):
        assert f"\n{name}=" in known


def test_drawing_has_every_arrow_of_a_job_and_no_other():
    (drawing,) = [code for language, code in BLOCKS if language == "mermaid"]
    drawn = set(re.findall(r"(\w+) --> (\w+): (\w+)", drawing))
    legal = {
        (source, source if target == SAME else target, arrow)
        for arrow, (sources, target) in LEGAL.items()
        for source in sources
    }
    assert drawn == legal


def test_words_are_few_enough_to_be_read():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert 900 <= len(prose.split()) <= 1400


def test_broker_knows_nothing_of_jobs_and_few_modules_of_jobs_know_the_broker():
    def imports(folder: str, package: str) -> list[Path]:
        pattern = re.compile(rf"^\s*(?:from|import) {package}\b", re.MULTILINE)
        return [file for file in (ROOT / folder).rglob("*.py") if pattern.search(file.read_text())]

    assert imports("broker", "jobs") == imports("catcher", "jobs") == []
    files = {file.name for file in imports("jobs", "broker")}
    assert files <= {
        *("backends.py", "embedded_resources.py", "embedded_log.py"),
        *("checks.py", "retries.py", "dev.py"),
    }


def test_indentation_of_an_excerpt_is_its_files():
    for path, code in EXCERPTS:
        if path.endswith(".py"):
            assert textwrap.dedent(code) == code
