"""Lines of our own code for a page: what does it is shown beside what it did.

No message passes here.
"""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from django.conf import settings


class Excerpt(NamedTuple):
    """The source of a function: the file's path in the project, its first line, its text."""

    file: str
    line: int
    text: str


@cache
def excerpt(function: Callable[..., Any]) -> Excerpt:
    """The source of a function or a class, decorators included."""
    plain = inspect.unwrap(function)
    lines, first = inspect.getsourcelines(plain)
    file = inspect.getsourcefile(plain) or ""
    return Excerpt(file.removeprefix(f"{settings.BASE_DIR}/"), first, "".join(lines))
