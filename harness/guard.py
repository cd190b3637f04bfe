"""End what a program has started if the program itself is killed.

This file is also run, as a process of its own. A line on its stdin names a process and the
signal that ends it. The input ends with the program, however that ended; what still runs then
is stopped.
"""

import atexit
import signal
import subprocess
import sys
from contextlib import suppress

import psutil


class Guard:
    """The program's side: starts the guarding process when there is something to guard."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def watch(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Have a process ended, should it outlive this program."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            atexit.register(self.process.communicate)
        print(pid, int(number), file=self.process.stdin, flush=True)


guard = Guard()


def main() -> None:
    """Note the processes at once, as another may get the number of one that has ended."""
    watched: list[tuple[psutil.Process, int]] = []
    for line in sys.stdin:
        pid, number = map(int, line.split())
        with suppress(psutil.NoSuchProcess):
            watched.append((psutil.Process(pid), number))
    for process, number in watched:
        with suppress(psutil.NoSuchProcess):
            end(process, number)


def end(process: psutil.Process, number: int) -> None:
    """Send a process its signal. SIGKILL goes to its children too, who could not be told."""
    children = process.children(recursive=True) if number == signal.SIGKILL else []
    process.send_signal(number)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


if __name__ == "__main__":
    main()
