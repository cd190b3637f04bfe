"""Whether a benchmark has the machine to itself: another server would be measured with it."""

import argparse
import re
from collections.abc import Iterator

import psutil

SERVER = re.compile(
    r"\b(gunicorn|run_huey|celery .*worker|manage\.py (dev|broker|runserver|run_dispatcher))\b"
)


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--beside-others", action="store_true", help="measure although another server is running"
    )


def refuse_beside_others(options: argparse.Namespace) -> None:
    """Name the servers that run already, such as one that was left running, and exit."""
    if options.beside_others or not (found := list(servers())):
        return
    lines = "\n".join(f"- pid {pid}: {command}" for pid, command in found)
    raise SystemExit(
        f"Other servers are running and would be measured too:\n{lines}\n"
        "Stop them, or measure with --beside-others."
    )


def servers() -> Iterator[tuple[int, str]]:
    """(pid, command line) of each server on this machine, without their worker processes."""
    found = {}
    for process in psutil.process_iter(["pid", "ppid", "cmdline"]):
        if SERVER.search(" ".join(process.info["cmdline"] or [])):
            found[process.info["pid"]] = process.info
    for pid, info in found.items():
        if info["ppid"] not in found:
            yield pid, " ".join(info["cmdline"])[:100]
