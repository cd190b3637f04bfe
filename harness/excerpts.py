"""Keep the excerpts in docs/ as their files are: `python -m harness.excerpts docs/tutorial.md`.

An excerpt is a block of Python that follows the name of its file. It shows whole definitions;
each is replaced by the one with the same name in the file.
"""

import argparse
import ast
import re
from pathlib import Path

from harness.processes import ROOT

EXCERPT = re.compile(r"`([\w/]+\.py)`:\n\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def definitions(code: str) -> dict[str, str]:
    """The source of each function and class at the top level, decorators included, by name."""
    lines, found = code.splitlines(), {}
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            found[node.name] = "\n".join(lines[first - 1 : node.end_lineno])
    return found


def refreshed(page: str, root: Path = ROOT) -> str:
    """A page with its excerpts as the files are now. KeyError for a definition that is gone."""

    def refresh(match: re.Match[str]) -> str:
        path, code = match.groups()
        if not (root / path).is_file():
            return match[0]
        current = definitions((root / path).read_text())
        text = "\n\n\n".join(current[name] for name in definitions(code))
        return f"`{path}`:\n\n```python\n{text}\n```"

    return EXCERPT.sub(refresh, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("pages", nargs="+", type=Path)
    for page in parser.parse_args().pages:
        page.write_text(refreshed(page.read_text()))


if __name__ == "__main__":
    main()
