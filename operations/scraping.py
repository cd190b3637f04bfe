"""What the processes of a machine have counted, added up, and what the database knows.

No message passes here. Each process counts in a file of its own. The counts of one that has ended
are moved to a file for all of those, so a restart never makes a counter fall.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from operations.gauges import DatabaseCollector

database = DatabaseCollector()


def scrape(folder: Path) -> bytes:
    """The metrics of all processes that share a folder, and the database's, as text."""
    registry = CollectorRegistry()
    registry.register(database)
    with locked(folder):
        add_up_the_dead(folder)
        MultiProcessCollector(registry, str(folder))
        return generate_latest(registry)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time reads and moves the counts of others."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def add_up_the_dead(folder: Path) -> None:
    """Move the counts of processes that have ended into one file for each kind of metric."""
    for file in folder.glob("*_*.db"):
        kind, _, pid = file.stem.rpartition("_")
        if pid == "0" or is_alive(int(pid)):
            continue
        total = MmapedDict(str(folder / f"{kind}_0.db"))
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
            total.write_value(key, total.read_value(key)[0] + value, 0)
        total.close()
        file.unlink()


def is_alive(pid: int) -> bool:
    """Whether a process runs on this machine; it may be another user's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
