"""What a box of the strip opens to: the real thing of a job, and the lines that do it.

No message passes here.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jobs.attempts import Attempt
from jobs.excerpts import Excerpt
from jobs.models import Job


class Details(NamedTuple):
    """Names and values, longer texts with their titles, and our own code."""

    facts: list[tuple[str, Any]]
    texts: list[tuple[str, str]]
    excerpts: list[Excerpt]


def details_of(key: str, job: Job | None, attempts: Sequence[Attempt], view: Any) -> Details:
    return Details([], [], [])
