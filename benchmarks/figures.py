"""The figures a benchmark prints, and the limits it holds them to."""

import os
import statistics
from datetime import UTC, datetime
from typing import NamedTuple


class Figure(NamedTuple):
    """One line of a table. `limit` is a lower bound for rates, an upper one for the rest."""

    name: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def missed(self) -> bool:
        if self.limit is None:
            return False
        return self.value < self.limit if self.unit == "/s" else self.value > self.limit

    @property
    def shown_limit(self) -> str:
        bound = "at least" if self.unit == "/s" else "at most"
        return "" if self.limit is None else f"{bound} {self.shown(self.limit)}"

    def shown(self, value: float) -> str:
        digits = 0 if value >= 100 else 1 if value >= 20 else 2 if value >= 2 else 3
        return f"{value:,.{digits}f} {self.unit}".strip()

    def __str__(self) -> str:
        return f"{self.name}: {self.shown(self.value)}, the limit is {self.shown_limit}"


def show(title: str, figures: list[Figure], database: str) -> None:
    """Print a measurement as a table, ready for the docs."""
    print(f"\n{title}; {os.cpu_count()} cores, {database}\n")
    width = max(len(figure.name) for figure in figures)
    print(f"| {'':{width}} |     measured | limit             |        |")
    print(f"|:{'-' * width}-|-------------:|:------------------|--------|")
    for figure in figures:
        print(
            f"| {figure.name:{width}} | {figure.shown(figure.value):>12} "
            f"| {figure.shown_limit:17} | {'missed' if figure.missed else '':6} |",
            flush=True,
        )


def show_missed(figures: list[Figure]) -> list[Figure]:
    """Say in words which limits have been missed; the figures that miss theirs."""
    limited = [figure for figure in figures if figure.limit is not None]
    missed = [figure for figure in limited if figure.missed]
    print(f"\n{len(missed)} of {len(limited)} limits missed{':' if missed else '.'}")
    for figure in missed:
        print(f"- {figure}")
    return missed


def percentile(values: list[float], percent: int) -> float:
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def moment(read: str | datetime) -> float:
    """Unix seconds of what a database holds; SQLite keeps UTC as text."""
    if isinstance(read, str):
        return datetime.fromisoformat(read).replace(tzinfo=UTC).timestamp()
    return read.timestamp()
