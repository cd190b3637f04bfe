"""A program that is killed, and what it has started."""

import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from harness.postgresql import Cluster
from harness.processes import ROOT, is_gone
from harness.waiting import eventually

PROGRAM = """
import subprocess, sys, time
from harness.processes import exit_on_sigterm, start_process

exit_on_sigterm()
child = "import time; time.sleep(99)"
start_process(["-c", f"import subprocess as s, sys; s.run([sys.executable, '-c', '{child}'])"])
print("started", flush=True)
time.sleep(99)
"""
CLUSTER = """
import time
from harness.postgresql import Cluster

with Cluster() as cluster:
    print(cluster.note, flush=True)
    time.sleep(99)
"""


def start(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_program_leaves_no_process_behind(number):
    with start(PROGRAM) as program:
        assert program.stdout.readline() == "started\n"
        family = psutil.Process(program.pid)
        started = eventually(lambda: len(all_ := family.children(recursive=True)) >= 3 and all_)
        program.send_signal(number)
    eventually(lambda: all(map(is_gone, started)), what="their end")


def test_killed_program_leaves_no_database_server_behind(cluster: Cluster):
    with start(CLUSTER) as program:
        theirs = Cluster.noted(program.stdout.readline().strip())
        postmaster = psutil.Process(int((theirs.data / "postmaster.pid").read_text().split()[0]))
        program.kill()
    eventually(lambda: is_gone(postmaster), what="its end")
    shutil.rmtree(theirs.folder)
