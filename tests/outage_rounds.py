"""Outages in rounds: `uv run python -m tests.outage_rounds --rounds 100 [--database postgresql]`.

Clients publish, click and look while a web server, a dispatcher and a receiver work. In each
round the database fails in one of the ways of outages.py, and now and then a process is killed.
A request that waits longer than 5 s or is answered with another error than 503, a message that is
lost or delivered twice without a reason, a traceback in the log, or a site that has not gone on
5 s after the end: each ends the command with 1.
"""

# ruff: noqa: T201  (the table is what this command is for)

import argparse
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django
from django.db import connections

from harness.processes import Site, collect_static, exit_on_sigterm
from harness.waiting import eventually
from tests.kill_findings import LoggedAttempt, Story, attempts_of, examine, out_of_order
from tests.kill_rounds import House, KeepingTail, read_stories, unix_ms
from tests.outage_clients import Clients
from tests.outage_proxy import Proxy
from tests.outages import (
    DISK_MEGABYTES,
    DiskCluster,
    NetworkOutages,
    Outage,
    PostgreSQLOutages,
    SQLiteOutages,
    small_disk,
)

ENVIRONMENT = {
    "BROKER_LEASE_SECONDS": "2",
    "BROKER_TOKEN": "only-for-the-tests",
    "RUN_DISPATCHER": "1",
}
VICTIMS = ["web", "dispatcher 1", "receiver"]
LONGEST_WAIT_SECONDS = 5.0
LONGEST_RECOVERY_SECONDS = 5.0
SETTLING_SECONDS = 40
BEFORE_SECONDS = 0.7
# A lease that ended is found by the next claim, which a busy machine makes late.
LEASE_MS = 10_000
TRACEBACK = "Traceback (most recent call last)"
LINE = re.compile(r"^(\d{4}-\S{14})\S* \S+ \S+ database is not answering", re.MULTILINE)
# A message that comes while another attempt has its job is answered with 503, too.
KNOWN = "groupcommit.outages|django.request Service Unavailable: /api/"
UNEXPECTED = re.compile(rf"^\S+ (?:ERROR|CRITICAL) (?!{KNOWN}).*$", re.MULTILINE)


class Interruption:
    """An outage or a kill, from when until when (unix ms) it may have cost attempts.

    Leases have ended by the end of an outage, and what a killed dispatcher held is not known while
    the database is away: tests/kill_rounds.py looks closer at kills.
    """

    def __init__(self, what: str) -> None:
        self.what, self.since, self.until = what, unix_ms(), 0

    def explains(self, message_id: str, attempt: LoggedAttempt) -> bool:
        until = (self.until or unix_ms()) + LEASE_MS
        return attempt.started <= until and attempt.ended >= self.since

    def __repr__(self) -> str:
        return f"{self.what} {self.since}-{self.until}"


class OutageHouse(House):
    """One web server with a dispatcher, a dispatcher of its own, and a receiver."""

    victims = VICTIMS

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.tail, self.clients = KeepingTail(self.arrived.file), Clients(site)

    def arrived_since(self, moment: int) -> bool:
        """Whether something has arrived since then (unix ms)."""
        lines = reversed(self.tail.lines())
        return any(int(at) >= moment for message_id, at, _ in lines if message_id != "up")

    def restart(self, meanwhile: Callable[[], None]) -> None:
        """Kill what has the database open, and start it again after something has been done."""
        for name in ("web", "dispatcher 1"):
            self.end(name)
        meanwhile()
        self.clients.web_was_killed()
        for name in ("web", "dispatcher 1"):
            self.start(name)
        eventually(lambda: self.clients.count_from < float("inf"), 60, "the web server's start")


class Rounds:
    """Round after round on one house, and what came of them all."""

    def __init__(
        self, house: OutageHouse, kinds: dict[str, Outage], seed: int, seconds: float
    ) -> None:
        self.house, self.kinds, self.seed, self.seconds = house, kinds, seed, seconds
        self.clients = house.clients
        self.total: Counter[str] = Counter()
        self.longest: dict[str, float] = defaultdict(float)
        self.recovery: dict[str, float] = defaultdict(float)
        self.troubles: list[str] = []
        self.log_read = 0
        self.names: list[str] = []

    def next_kind(self, choice: random.Random) -> str:
        """Each kind once in random order, then all of them again."""
        if not self.names:
            self.names = choice.sample(sorted(self.kinds), len(self.kinds))
        return self.names.pop()

    def run(self, number: int) -> None:
        choice = random.Random(f"{self.seed}-{number}")  # noqa: S311
        kind, first = self.next_kind(choice), self.newest() + 1
        seconds = choice.uniform(0.3, 1) * self.seconds
        kill = choice.random() < 0.3
        eventually(self.house.receiving, SETTLING_SECONDS, "the receiver's start")
        eventually(self.clients.site_answers, SETTLING_SECONDS, "the site's start")
        began = time.monotonic()
        with self.clients.working(choice):
            time.sleep(BEFORE_SECONDS)
            interruptions = [Interruption(kind)]
            if kill:
                interruptions.append(self.kill(choice))
            self.kinds[kind](seconds)
            interruptions[0].until, over = unix_ms(), time.monotonic()
            if kind == "read-only" and "sqlite" in self.house.site.environment["DATABASE_URL"]:
                kill = True  # it has restarted everything
            recovered = self.until_recovered(kind, over, kill)
            time.sleep(0.3)
        settled = self.wait_until_settled(first)
        for interruption in interruptions:
            interruption.until = interruption.until or unix_ms()
        self.house.check_alive()
        self.examine(first, interruptions, f"round {number}, {kind}", settled)
        took = time.monotonic() - began
        killed = f", killed {interruptions[1].what}" if len(interruptions) > 1 else ""
        print(
            f"round {number}: {kind} for {seconds:.1f} s{killed}; longest wait "
            f"{self.clients.longest:.2f} s, went on after {recovered:.2f} s, {took:.1f} s in all",
            flush=True,
        )

    def kill(self, choice: random.Random) -> Interruption:
        victim = choice.choice(VICTIMS)
        interruption = Interruption(victim)
        self.house.end(victim)
        if victim == "web":
            self.clients.web_was_killed()
        self.house.start(victim)
        self.total["kills"] += 1
        return interruption

    def until_recovered(self, kind: str, over: float, killed: bool) -> float:
        """How long it took until each client was served and a message arrived."""
        since = unix_ms()
        try:
            eventually(
                lambda: self.clients.served_since(over) and self.house.arrived_since(since),
                SETTLING_SECONDS,
                f"the end of {kind}",
            )
        except AssertionError as error:
            self.troubles.append(f"{error}; not served: {self.clients.not_served(over)}")
            print(self.troubles[-1], flush=True)
        seconds = time.monotonic() - over
        if not killed:  # a process takes some seconds to start
            self.recovery[kind] = max(self.recovery[kind], seconds)
            if seconds > LONGEST_RECOVERY_SECONDS:
                self.troubles.append(f"{kind}: went on after {seconds:.1f} s")
        return seconds

    def newest(self) -> int:
        from broker.models import Message

        return Message.objects.order_by("-id").values_list("id", flat=True).first() or 0

    def wait_until_settled(self, first: int) -> bool:
        from broker.models import FINAL_STATES, Message
        from jobs.models import Job

        connections.close_all()  # ours, too, may have been cut
        moving = Message.objects.filter(id__gte=first).exclude(state__in=FINAL_STATES)
        try:
            eventually(lambda: not moving.exists(), SETTLING_SECONDS)
        except AssertionError:
            left = list(moving.values_list("message_id", "state", "claimed_by", "due_at")[:5])
            self.troubles.append(f"not settled in time: {left}")
            return False
        left = Job.objects.exclude(status__in=Job.ENDED).values_list("id", "status")
        self.troubles += [f"job {job} is {status}, and no message comes" for job, status in left]
        return True

    def examine(
        self, first: int, interruptions: list[Interruption], name: str, settled: bool
    ) -> None:
        """Judge every message and every request of the round, and the log."""
        arrivals: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for message_id, at, status in self.house.tail.take():
            arrivals[message_id].append((int(at), int(status)))
        arrivals.pop("up", None)
        stories = {s.message_id: s for s in read_stories(first, arrivals) if self.is_ours(s)}
        for message_id in self.clients.accepted - stories.keys():
            stories[message_id] = Story(message_id, "GONE", [], arrivals[message_id])
        self.troubles += [f"{name}: {trouble}" for trouble in out_of_order(stories.values())]
        for story in stories.values():
            findings = examine(story, interruptions)  # type: ignore[arg-type]
            self.total["lost"] += findings.lost
            self.total["duplicates"] += findings.duplicates
            for trouble in findings.troubles:
                if "arrived" in trouble and self.was_taken_over(story, interruptions):
                    self.total["duplicates"] += 1
                    continue
                text = f"{name}, {story.message_id}: {trouble}\n  {story}\n  {interruptions}"
                self.troubles.append(text)
        self.total["rounds"] += 1
        self.total["accepted"] += len(self.clients.accepted)
        self.total["requests"] += self.clients.requests
        self.total["answered 503"] += self.clients.refused
        self.troubles += [f"{name}: {trouble}" for trouble in self.clients.troubles]
        for what, seconds in self.clients.waits.items():
            self.longest[what] = max(self.longest[what], seconds)
            if seconds > LONGEST_WAIT_SECONDS:
                self.troubles.append(f"{name}: {what} waited {seconds:.1f} s")
        self.read_log(name)

    def was_taken_over(self, story: Story, interruptions: list[Interruption]) -> bool:
        """Whether a lease ended in an outage: who had it may deliver beside who has it now."""
        lost = [attempt for attempt in attempts_of(story) if attempt.end == "lost"]
        return any(each.explains(story.message_id, a) for each in interruptions for a in lost)

    def is_ours(self, story: Story) -> bool:
        """Jobs' messages go to the site itself; their receiver is not ours."""
        return story.message_id in self.clients.accepted or bool(story.arrivals)

    def read_log(self, name: str) -> None:
        """No traceback, no error of another kind, and a line a second for each process."""
        with self.house.site.log.open() as log:
            log.seek(self.log_read)
            text = log.read()
            self.log_read = log.tell()
        self.total["tracebacks"] += text.count(TRACEBACK)
        seconds = Counter(LINE.findall(text))
        self.total["lines"] = max([self.total["lines"], *seconds.values()])
        if TRACEBACK in text:
            at = text.index(TRACEBACK)
            self.troubles.append(f"{name}: a traceback\n{text[max(0, at - 300) : at + 2500]}")
        self.troubles += [f"{name}: {line}" for line in UNEXPECTED.findall(text)[:3]]


COLUMNS = [
    "rounds", "kills", "requests", "answered 503", "accepted", "lost", "duplicates", "tracebacks",
]  # fmt: skip


def show(rounds: Rounds, database: str) -> None:
    print(f"\n| {database} | " + " | ".join(COLUMNS) + " | longest wait |")
    print("|---|" + "--:|" * (len(COLUMNS) + 1))
    longest = max(rounds.longest.values(), default=0)
    cells = [f"{rounds.total[name]:,}" for name in COLUMNS]
    print("| | " + " | ".join(cells) + f" | {longest:.2f} s |")
    print(f"\nlines of the log in one second, all processes: {rounds.total['lines']}")
    print("longest wait: ", {what: round(s, 2) for what, s in sorted(rounds.longest.items())})
    print("went on after:", {what: round(s, 2) for what, s in sorted(rounds.recovery.items())})


@contextmanager
def site_on(database: str) -> Iterator[tuple[OutageHouse, dict[str, Outage]]]:
    """A site on an empty database that can fail, and in which ways; only the network to the
    database of a URL, which has all tables and no rows.
    """
    collect_static()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        disk = folder / "disk"
        if "://" in database:
            proxy = stack.enter_context(Proxy(urlsplit(database).port or 5432))
            os.environ["DATABASE_URL"] = database
            through = database.replace(f":{proxy.server_port}/", f":{proxy.port}/")
            site = Site(folder, through, **ENVIRONMENT)
            stack.callback(site.stop_all)
            yield OutageHouse(site), NetworkOutages(proxy).kinds
            return
        has_disk = stack.enter_context(small_disk(disk, DISK_MEGABYTES[database]))
        if not has_disk:
            print("this user may not mount a disk, so none is filled", flush=True)
        if database == "postgresql":
            (disk / "cluster").mkdir()
            cluster = stack.enter_context(DiskCluster(str(disk / "cluster")))
            proxy = stack.enter_context(Proxy(cluster.port))
            site = Site(folder, cluster.url, **ENVIRONMENT).prepare()
            os.environ["DATABASE_URL"] = cluster.url
            through = cluster.url.replace(f":{cluster.port}/", f":{proxy.port}/")
            site.environment["DATABASE_URL"] = through
            stack.callback(site.stop_all)
            house = OutageHouse(site)
            filled = disk if has_disk else None
            yield house, PostgreSQLOutages(cluster, cluster.url, proxy, filled).kinds
        else:
            site = Site(folder, **ENVIRONMENT).prepare()
            file = disk / "site.sqlite3"
            (folder / "site.sqlite3").rename(file) if not has_disk else move(folder, file)
            site.environment["DATABASE_URL"] = f"sqlite:///{file}"
            os.environ["DATABASE_URL"] = site.environment["DATABASE_URL"]
            stack.callback(site.stop_all)
            house = OutageHouse(site)
            yield house, SQLiteOutages(file, has_disk, house.restart).kinds


def move(folder: Path, file: Path) -> None:
    file.write_bytes((folder / "site.sqlite3").read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--database", default="sqlite", help="sqlite, postgresql or a URL")
    parser.add_argument("--seconds", type=float, default=6, help="the longest outage")
    parser.add_argument("--only", action="append", help="a kind of outage")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    options = parser.parse_args()
    exit_on_sigterm()  # so that the disk is unmounted
    print(f"seed {options.seed}", flush=True)
    with site_on(options.database) as (house, kinds):
        own: dict[str, Any] = {"DATABASE_URL": os.environ["DATABASE_URL"]}
        os.environ |= house.site.environment | own
        django.setup()
        kinds = {name: kind for name, kind in kinds.items() if name in (options.only or kinds)}
        rounds = Rounds(house, kinds, options.seed, options.seconds)
        for number in range(1, options.rounds + 1):
            rounds.run(number)
        show(rounds, options.database.partition(":")[0])
    print("\n".join(rounds.troubles))
    sys.exit(bool(rounds.troubles))


if __name__ == "__main__":
    main()
