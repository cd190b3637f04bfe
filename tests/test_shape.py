"""The shape of the house: small modules that open with a few words, small functions."""

import ast

import pytest

from harness.processes import ROOT

PACKAGES = ("broker", "catcher", "groupcommit", "jobs", "jobsite")
MODULES = [
    file
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    if "migrations" not in file.parts and file.name != "settings.py" and file.stat().st_size
]


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_module_is_small_and_says_what_it_is(file):
    text = file.read_text()
    tree = ast.parse(text)
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(tree)
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= 45] == []
