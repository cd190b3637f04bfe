"""The shape of the project: small modules, a test file for each, and who imports whom."""

import ast
import re
import sys
from pathlib import Path

import pytest

from harness.processes import ROOT

PACKAGES = (
    *("broker", "catcher", "console", "groupcommit"),
    *("jobs", "jobsite", "live", "logfields", "operations", "recipes"),
)
MODULES = [
    file
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    if "migrations" not in file.parts and file.stat().st_size
]
# Only wiring; every test that starts the site runs it.
WITHOUT_TESTS = {"__init__.py", "apps.py", "urls.py", "wsgi.py"}
# A folder whose modules are tested together, or a module tested through another one's interface.
TESTED_BY = {
    "models": "test_models",
    "description": "test_openapi",
    "scheduling": "test_api_schedules",
    "standalone": "test_broker_command",
}
LONGEST_TEMPLATE_LINE = 160
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s")


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def functions_in(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def imports(folder: str, package: str) -> list[str]:
    """The files of a folder that import from a package."""
    pattern = re.compile(rf"^\s*(?:from|import) {package}\b", re.MULTILINE)
    files = sorted((ROOT / folder).rglob("*.py"))
    return [name_of(file) for file in files if pattern.search(file.read_text())]


@pytest.mark.parametrize(
    "file", [file for file in MODULES if file.name != "settings.py"], ids=name_of
)
def test_module_is_small_and_says_what_it_is(file):
    text = file.read_text()
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(tree)
    long = [f.name for f in functions_in(tree) if (f.end_lineno or 0) - f.lineno >= 45]
    assert long == []


@pytest.mark.parametrize(
    "file",
    [
        file
        for file in MODULES
        if file.name not in WITHOUT_TESTS and functions_in(ast.parse(file.read_text()))
    ],
    ids=name_of,
)
def test_module_has_its_test_file(file):
    """`broker/api/pages.py` is tested by `test_api_pages.py` or `test_pages.py`.

    A module of `broker/` that only the API shows may be tested through it.
    """
    package, *folders = file.relative_to(ROOT).parent.parts
    tests = ROOT / "tests" / ("" if package == "jobsite" else package)
    names = {f"test_{'_'.join([*folders[-1:], file.stem])}", f"test_{file.stem}"}
    if package == "broker":
        names.add(f"test_api_{file.stem}")
    if folders[-1:] == ["commands"]:
        names.add(f"test_{file.stem}_command")
    names |= {TESTED_BY[part] for part in [*folders, file.stem] if part in TESTED_BY}
    assert [name for name in names if (tests / f"{name}.py").is_file()]


def test_tests_and_benchmarks_share_only_the_harness():
    assert imports("tests", "benchmarks") == imports("benchmarks", "tests") == []
    assert imports("harness", "tests") == imports("harness", "benchmarks") == []
    assert [file for package in PACKAGES for file in imports(package, "harness")] == []


def test_programs_shadow_no_standard_module():
    standard = sys.stdlib_module_names
    assert [file.name for file in (ROOT / "benchmarks").glob("*.py") if file.stem in standard] == []


@pytest.mark.parametrize("file", sorted((ROOT / "templates").rglob("*.html")), ids=name_of)
def test_no_line_of_a_template_is_long(file):
    lines = enumerate(file.read_text().splitlines(), start=1)
    assert [number for number, line in lines if len(line) > LONGEST_TEMPLATE_LINE] == []


@pytest.mark.parametrize(
    "file", [file for file in MODULES if file.is_relative_to(ROOT / "jobs")], ids=name_of
)
def test_jobs_are_kept_without_sql_text(file):
    nodes = list(ast.walk(ast.parse(file.read_text())))
    texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    called = {n.func.attr for n in nodes if isinstance(n, ast.Call) and hasattr(n.func, "attr")}
    assert [text for text in texts if SQL.match(text)] == []
    assert not called & {"raw", "cursor", "RawSQL", "extra"}


def test_live_pages_know_nothing_of_what_they_show():
    rooms = ("broker", "catcher", "console", "jobs", "recipes")
    assert [file for room in rooms for file in imports("live", room)] == []
