"""End what a program has started if the program itself is killed.

This file is also run, as a process of its own. Its input ends with the program, however that
ended. Then it stops what still runs: the processes it was told about, and all that have the
program's mark in their environment. The mark also covers a program that is killed right after
it has started a process, before it can tell anybody.
"""

import atexit
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress

import psutil

MARK = "HARNESS_PROGRAM"


class Guard:
    """The program's side: starts the guarding process when there is something to guard."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.mark = secrets.token_hex(16)

    def start(self) -> subprocess.Popen[str]:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__, self.mark],
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env={name: value for name, value in os.environ.items() if name != MARK},
            )
            atexit.register(self.process.communicate)
        return self.process

    def marked(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment for a process that must not outlive this program."""
        self.start()
        return {**environment, MARK: self.mark}

    def watch(self, pid: int, number: int) -> None:
        """Have a process that has no mark ended by a signal, should it outlive this program."""
        print(pid, int(number), file=self.start().stdin, flush=True)


guard = Guard()


def main(mark: str) -> None:
    """Note the processes at once, as another may get the number of one that has ended."""
    watched: list[tuple[psutil.Process, int]] = []
    for line in sys.stdin:
        pid, number = map(int, line.split())
        with suppress(psutil.NoSuchProcess):
            watched.append((psutil.Process(pid), number))
    for process, number in watched:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    while left := list(marked(mark)):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def marked(mark: str) -> Iterator[psutil.Process]:
    """The running processes that have a mark."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                yield process


if __name__ == "__main__":
    main(sys.argv[1])
