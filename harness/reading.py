"""Count what a reader of one click opens in jobs/: `uv run python -m harness.reading`.

A click, the delivery of its message, its ten requests and its status page run in this process.
The definitions in jobs/ that are executed on the way are what a reader opens, and the fields of
`Job`; their lines of code are counted, without blank lines, comments and docstrings. The strip,
which explains that way on the page, is not a part of it. Too many of them, or in too many files,
end the command with 1. A second column adds the classes and constants that these definitions
name, without the methods that were not executed.
"""

import argparse
import ast
import asyncio
import io
import os
import re
import sys
import tempfile
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import NamedTuple

from harness.processes import ROOT
from harness.sink import Sink

FOLDER = ROOT / "jobs"
# No message passes here, nor what is called from here: they show its way to the visitor.
STRIP = ("strip", "strip_details", "shown_request", "templatetags/strips")
EXPLAINS = tuple(f"jobs/{name}.py" for name in STRIP)
MOST_LINES = 400
MOST_FILES = 8
NO_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Definition(NamedTuple):
    """A function with its decorators, or a field: the name, and the numbers of its lines."""

    name: str
    lines: frozenset[int]


def code_lines(source: str) -> set[int]:
    """The numbers of the lines that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Module)) and ast.get_docstring(node):
            lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def functions_in(source: str) -> list[Definition]:
    """Functions and methods; one that is defined inside another is a part of that."""
    code, found = code_lines(source), []

    def look(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FUNCTIONS):
                first = min([child, *child.decorator_list], key=lambda part: part.lineno).lineno
                lines = code.intersection(range(first, child.end_lineno + 1))
                found.append(Definition(prefix + child.name, frozenset(lines)))
            else:
                look(child, f"{prefix}{child.name}." if isinstance(child, ast.ClassDef) else prefix)

    look(ast.parse(source), "")
    return found


def fields_in(source: str, model: str) -> list[Definition]:
    """The fields that a model declares."""
    code = code_lines(source)
    return [
        Definition(
            f"{model}.{statement.targets[0].id}",
            frozenset(code.intersection(range(statement.lineno, statement.end_lineno + 1))),
        )
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and node.name == model
        for statement in node.body
        if isinstance(statement, ast.Assign)
        and re.match(r"models\.(\w+Field|ForeignKey)\(", ast.unparse(statement.value))
    ]


def names_in(source: str, lines: set[int]) -> set[str]:
    """The names that some lines use."""
    nodes = ast.walk(ast.parse(source))
    return {node.id for node in nodes if isinstance(node, ast.Name) and node.lineno in lines}


def named_lines(source: str, names: set[str]) -> set[int]:
    """The lines of the classes, without their methods, and of the constants with these names."""
    lines: set[int] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            own = {node.name}
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.TypeAlias):
            targets = getattr(node, "targets", None) or [getattr(node, "target", node)]
            own = {ast.unparse(getattr(target, "name", target)) for target in targets}
        else:
            continue
        if own & names:
            lines.update(range(node.lineno, node.end_lineno + 1))
    methods = [definition.lines for definition in functions_in(source)]
    return (lines & code_lines(source)).difference(*methods)


@contextmanager
def executed(folder: Path) -> Iterator[set[CodeType]]:
    """The code objects of a folder's files that any thread enters meanwhile."""
    monitoring, entered = sys.monitoring, set[CodeType]()

    def enter(code: CodeType, offset: int) -> object:
        if explains(sys._getframe(1)):
            return None
        if code.co_filename.startswith(f"{folder}/"):
            entered.add(code)
        return monitoring.DISABLE

    monitoring.use_tool_id(monitoring.PROFILER_ID, "reading")
    monitoring.register_callback(monitoring.PROFILER_ID, monitoring.events.PY_START, enter)
    monitoring.set_events(monitoring.PROFILER_ID, monitoring.events.PY_START)
    try:
        yield entered
    finally:
        monitoring.set_events(monitoring.PROFILER_ID, 0)
        monitoring.free_tool_id(monitoring.PROFILER_ID)


def explains(frame: FrameType | None) -> bool:
    """Whether code runs for the strip only."""
    while frame and not frame.f_code.co_filename.endswith(EXPLAINS):
        frame = frame.f_back
    return frame is not None


def opened(codes: set[CodeType]) -> dict[str, list[Definition]]:
    """What a reader opens, by file: the definitions that were entered, and the fields of `Job`."""
    entered = defaultdict(set)
    for code in codes:
        entered[Path(code.co_filename)].add(code.co_firstlineno)
    found = {}
    for file in sorted(FOLDER.rglob("*.py")):
        source = file.read_text()
        definitions = [d for d in functions_in(source) if d.lines & entered[file]]
        if file == FOLDER / "models.py":
            definitions = fields_in(source, "Job") + definitions
        if definitions:
            found[path_of(file)] = definitions
    return found


async def click_and_wait(target: Sink) -> None:
    """Click, deliver the message as the dispatcher does, and look at the job's status."""
    from django.conf import settings
    from django.test import AsyncClient

    from broker.delivery import headers_for
    from broker.models import Message

    browser = AsyncClient()
    page = await browser.post("/jobs/start", headers={"HX-Request": "true"})
    message = await Message.objects.aget()
    headers = headers_for(message, settings.QSTASH_CURRENT_SIGNING_KEY)
    answer = await AsyncClient().post(
        message.url.removeprefix(settings.PUBLIC_URL),
        bytes(message.body),
        content_type="application/json",
        headers={name: value for name, value in headers.items() if name != "Content-Type"},
    )
    assert answer.status_code == 200, answer.content
    assert len(target.requests) == 10
    job_page = re.search(r'href="(/jobs/\w+)"', page.text)[1]
    status = await browser.get(job_page, headers={"Accept": "application/json"})
    assert status.json()["status"] == "succeeded"


def read_one_click() -> dict[str, list[Definition]]:
    """Set up a site on an empty database, and click."""
    import django

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Sink() as target:
        os.environ |= {
            "ALLOWED_HOSTS": "testserver",
            "DATABASE_URL": f"sqlite:///{folder}/site.sqlite3",
            "DEBUG": "1",
            "DJANGO_SETTINGS_MODULE": "jobsite.settings",
            "LONG_TASK_TARGET_URL": target.url,
            "PUBLIC_URL": "http://testserver",
            "QSTASH_TOKEN": "",
        }
        django.setup()
        from django.core.management import call_command
        from django.urls import resolve

        call_command("migrate", verbosity=0)
        resolve("/")  # imports the views before anything is counted
        with executed(FOLDER) as codes:
            asyncio.run(click_and_wait(target))
    return opened(codes)


def with_named(found: dict[str, list[Definition]]) -> dict[str, set[int]]:
    """The lines that are opened, and those of the classes and constants that they name."""
    sources = {path_of(file): file.read_text() for file in FOLDER.rglob("*.py")}
    lines = {file: lines_of(found.get(file, [])) for file in sources}
    while True:
        names = set().union(*(names_in(sources[file], lines[file]) for file in sources))
        more = {file: lines[file] | named_lines(sources[file], names) for file in sources}
        if more == lines:
            return lines
        lines = more


def lines_of(definitions: list[Definition]) -> set[int]:
    return set().union(*(definition.lines for definition in definitions))


def path_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def show(found: dict[str, list[Definition]], names: bool) -> tuple[int, int]:
    """Print a table; how many lines in how many files a reader opens."""
    larger = {file: len(lines) for file, lines in with_named(found).items() if lines}
    print(f"\n| {'file':30} | definitions | lines | with what they name |")
    print(f"|:{'-' * 31}|------------:|------:|--------------------:|")
    for file in sorted(larger):
        opened_here = found.get(file, [])
        count, lines = len(opened_here), len(lines_of(opened_here))
        print(f"| {file:30} | {count:11} | {lines:5} | {larger[file]:19} |")
        for definition in opened_here if names else []:
            print(f"|   {definition.name:28} | {'':11} | {len(definition.lines):5} | {'':19} |")
    total = sum(len(lines_of(definitions)) for definitions in found.values())
    print(f"\n{total} lines in {len(found)} files; allowed are {MOST_LINES} in {MOST_FILES}.")
    print(f"With the classes and constants they name: {sum(larger.values())} in {len(larger)}.")
    return total, len(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--names", action="store_true", help="list the definitions, too")
    options = parser.parse_args()
    lines, files = show(read_one_click(), options.names)
    sys.exit(lines > MOST_LINES or files > MOST_FILES)


if __name__ == "__main__":
    main()
