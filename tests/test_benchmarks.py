"""The benchmarks as programs: what they say, and what they leave behind."""

import re
import signal
import subprocess
import sys

import psutil
import pytest

from harness.processes import ROOT, is_gone
from harness.waiting import eventually

COMMAND = [sys.executable, "benchmarks/deliveries.py", "--quick", "--only", "latency"]
COMMAND += ["--beside-others"]  # those of other tests


def test_benchmark_prints_a_table_and_says_which_limits_it_missed():
    done = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| publish call to settled, p50 |" in done.stdout
    missed = done.stdout.count("| missed |")
    assert f"\n{missed} of 2 limits missed" in done.stdout
    assert done.stdout.count(", the limit is at most") == missed


def is_gunicorn(process: psutil.Process) -> bool:
    """Whether it serves the site. One that has just ended, such as the migration, does not."""
    try:
        return "gunicorn" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_benchmark_leaves_no_process_behind(number):
    def family() -> list[psutil.Process]:
        children = psutil.Process(program.pid).children(recursive=True)
        return children if any(map(is_gunicorn, children)) else []

    def heed_ctrl_c() -> None:
        """A shell's background jobs ignore SIGINT, and so would what they start."""
        signal.signal(signal.SIGINT, signal.default_int_handler)

    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        COMMAND, cwd=ROOT, stdout=quiet, stderr=quiet, preexec_fn=heed_ctrl_c
    ) as program:
        started = eventually(family, seconds=60, what="the server's start")
        program.send_signal(number)
    assert program.returncode != 0
    eventually(lambda: all(map(is_gone, started)), what="their end")


def test_pages_that_are_open_are_told_of_every_step():
    command = [sys.executable, "benchmarks/live_pages.py", "--quick", "--beside-others"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| steps +\| +\d+", done.stdout)
    assert re.search(r"\| events to pages that had no job +\| +0\.000", done.stdout)


@pytest.mark.parametrize("program", ["deliveries", "live_pages", "long_task", "peers"])
def test_server_that_was_left_running_is_named_and_not_measured_with(program):
    with subprocess.Popen(
        [sys.executable, "-c", "input()", "gunicorn"], stdin=subprocess.PIPE
    ) as left:
        command = [sys.executable, f"benchmarks/{program}.py"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        left.communicate(b"\n")
    assert done.returncode == 1
    assert f"- pid {left.pid}: " in done.stderr
    assert "Stop them, or measure with --beside-others." in done.stderr
