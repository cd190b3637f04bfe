"""kill -9 in rounds: `uv run python -m tests.kill_rounds --rounds 200 [--database postgresql]`.

Publishers, a web server, two dispatchers and a receiver work on one database; at random
moments some of them are killed and started again. When a round's messages are settled,
kill_findings.py compares what was accepted, seen and logged: a message that is lost, or
delivered twice without a kill to explain it, ends the command with 1.
"""

# ruff: noqa: T201  (the table is what this command is for)

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import django

from harness.postgresql import Cluster
from harness.processes import Site, free_port
from harness.waiting import eventually
from tests.kill_findings import Kill, Line, Story, examine, out_of_order

VICTIMS = ["publisher", "dispatcher 1", "dispatcher 2", "web", "receiver"]
MOST_KILLS = 5
KILLING_SECONDS = 1.6
SETTLING_SECONDS = 40
ENVIRONMENT = {
    "BROKER_LEASE_SECONDS": "2",
    "BROKER_TOKEN": "only-for-the-tests",
    "RUN_DISPATCHER": "0",
}
# Wait this long before looking up a dead dispatcher's claims: PostgreSQL may still be finishing
# its last commit.
LAST_COMMIT_SECONDS = 0.05


def unix_ms() -> int:
    return time.time_ns() // 1_000_000


class Tail:
    """What has been appended to a file since the last look."""

    def __init__(self, file: Path) -> None:
        self.file, self.read = file, 0
        file.touch()

    def lines(self) -> list[list[str]]:
        with self.file.open() as opened:
            opened.seek(self.read)
            text = opened.read()
            self.read = opened.tell()
        return [line.split() for line in text.splitlines()]


class KeepingTail(Tail):
    """The same, and what it was at the looks before."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.kept: list[list[str]] = []

    def lines(self) -> list[list[str]]:
        self.kept += super().lines()
        return self.kept

    def take(self) -> list[list[str]]:
        """All since the last time."""
        taken, self.kept = self.lines(), []
        return taken


class House:
    """The processes by name, and the files that outlive them."""

    victims = VICTIMS

    def __init__(self, site: Site) -> None:
        self.site, self.receiver_port = site, free_port()
        self.site.environment["RECEIVER_URL"] = f"http://127.0.0.1:{self.receiver_port}/"
        self.accepted = Tail(site.folder / "accepted")
        self.arrived = Tail(site.folder / "arrived")
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        for name in self.victims:
            if name != "publisher":
                self.start(name)

    def start(self, name: str, *arguments: str) -> None:
        command = {
            "publisher": ["-m", "tests.kill_publisher", *arguments],
            "inside publisher": ["-m", "tests.kill_publisher", *arguments],
            "dispatcher 1": ["manage.py", "run_dispatcher"],
            "dispatcher 2": ["manage.py", "run_dispatcher"],
            "web": ["-m", "gunicorn"],
            "receiver": [
                "-m", "tests.kill_receiver", str(self.receiver_port), str(self.arrived.file),
            ],
        }[name]  # fmt: skip
        self.running[name] = self.site.start(*command)

    def kill(self, name: str) -> Kill:
        """Kill a process and its children, and start it again."""
        process, since = self.running[name], unix_ms()
        self.end(name)
        until = unix_ms()
        held = self.held_by(process.pid) if name.startswith("dispatcher") else frozenset()
        if "publisher" not in name:
            self.start(name)
        return Kill(name, since, until, held)

    def end(self, name: str) -> None:
        os.killpg(self.running[name].pid, signal.SIGKILL)
        self.running[name].wait()

    def held_by(self, pid: int) -> frozenset[str]:
        """The messages a dispatcher that has just died had under way."""
        from broker.models import Message

        time.sleep(LAST_COMMIT_SECONDS)
        held = Message.objects.filter(claimed_by__contains=f"-{pid}-")
        return frozenset(held.values_list("message_id", flat=True))

    def start_publishers(self, choice: random.Random) -> None:
        """One over HTTP, and now and then one inside a process of the site's."""
        hows = [("publisher", "http", choice.randint(40, 120))]
        if choice.random() < 0.3:
            hows.append(("inside publisher", "inside", choice.randint(10, 60)))
        for name, how, count in hows:
            seed = str(choice.randrange(10**6))
            self.start(name, how, str(self.accepted.file), seed, str(count))

    def publishing(self) -> bool:
        publishers = [p for name, p in self.running.items() if "publisher" in name]
        return any(process.poll() is None for process in publishers)

    def receiving(self) -> bool:
        """Whether a receiver listens; so one that was killed cannot cost the next round."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.receiver_port)) == 0

    def check_alive(self) -> None:
        """Nothing ends by itself."""
        for name, process in self.running.items():
            ended = process.poll()
            fine = {0, -signal.SIGKILL} if "publisher" in name else {None}
            if ended not in fine:
                raise SystemExit(f"{name} ended with {ended}:\n{self.site.log.read_text()[-9000:]}")


class Rounds:
    """Round after round on one house, and what came of them all."""

    def __init__(self, house: House, seed: int) -> None:
        self.house, self.seed = house, seed
        self.total: Counter[str] = Counter()
        self.troubles: list[str] = []

    def run(self, number: int) -> None:
        """Publish, kill, wait until everything is settled, examine."""
        choice = random.Random(f"{self.seed}-{number}")  # noqa: S311
        began, first = time.monotonic(), self.newest() + 1
        self.house.start_publishers(choice)
        kills = self.kill_some(choice)
        eventually(self.house.receiving, SETTLING_SECONDS, "the receiver's start")
        eventually(lambda: not self.house.publishing(), SETTLING_SECONDS, "the publishers' end")
        settled = self.wait_until_settled(first)
        self.house.check_alive()
        names = ", ".join(kill.victim for kill in kills)
        self.examine(first, kills, f"round {number}")
        print(f"round {number}: {time.monotonic() - began:.1f} s, killed {names}", flush=True)
        if not settled:
            raise SystemExit("\n".join(["messages were not settled in time", *self.troubles]))

    def newest(self) -> int:
        from broker.models import Message

        return Message.objects.order_by("-id").values_list("id", flat=True).first() or 0

    def kill_some(self, choice: random.Random) -> list[Kill]:
        """Kill at random moments; a victim that has ended already is not killed."""
        count = choice.randint(1, MOST_KILLS)
        moments = sorted(choice.uniform(0, KILLING_SECONDS) for _ in range(count))
        began, kills = time.monotonic(), []
        for moment in moments:
            victim = choice.choice(VICTIMS)
            time.sleep(max(0, began + moment - time.monotonic()))
            if self.house.running[victim].poll() is None:
                kills.append(self.house.kill(victim))
        self.total["kills"] += len(kills)
        return kills

    def wait_until_settled(self, first: int) -> bool:
        """Whether all messages of the round were settled in time."""
        from broker.models import FINAL_STATES, Message

        moving = Message.objects.filter(id__gte=first).exclude(state__in=FINAL_STATES)
        try:
            eventually(lambda: not moving.exists(), SETTLING_SECONDS)
        except AssertionError:
            return False
        return True

    def examine(self, first: int, kills: list[Kill], name: str) -> None:
        """Judge every message of the round, and add up the findings."""
        accepted = {message_id for (message_id,) in self.house.accepted.lines()}
        arrivals: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for message_id, at, status in self.house.arrived.lines():
            arrivals[message_id].append((int(at), int(status)))
        kills = until_up(kills, [at for at, _ in arrivals.pop("up", [])])
        stories = {story.message_id: story for story in read_stories(first, arrivals)}
        disorder = out_of_order(stories.values())
        self.total["out of order"] += len(disorder)
        self.troubles += [f"{name}: {trouble}" for trouble in disorder]
        for message_id in accepted - stories.keys():
            stories[message_id] = Story(message_id, "GONE", [], arrivals[message_id])
        for story in stories.values():
            findings = examine(story, kills)
            self.total["lost"] += findings.lost
            self.total["interrupted"] += findings.interrupted
            self.total["duplicates"] += findings.duplicates
            self.total["unexplained"] += bool(findings.troubles) and not findings.lost
            for trouble in findings.troubles:
                self.troubles.append(f"{name}, {story.message_id}: {trouble}\n  {story}\n  {kills}")
        self.total["rounds"] += 1
        self.total["accepted"] += len(accepted)
        states = Counter(story.state for story in stories.values())
        self.total["delivered"] += states["DELIVERED"]
        self.total["dead"] += states["FAILED"]


def until_up(kills: list[Kill], ups: list[int]) -> list[Kill]:
    """Let the kill of a receiver last until the next one listens."""
    return [
        kill._replace(until=min((up for up in ups if up >= kill.until), default=unix_ms()))
        if kill.victim == "receiver"
        else kill
        for kill in kills
    ]


def read_stories(first: int, arrivals: dict[str, list[tuple[int, int]]]) -> Iterator[Story]:
    """What the database knows of the messages since `first`, with what arrived of them."""
    from broker.models import DeadLetter, Event, Message

    logs: dict[int, list[Line]] = defaultdict(list)
    fields = ("message_id", "id", "state", "time", "error", "response_status")
    events = Event.objects.filter(message_id__gte=first).order_by("id")
    for pk, *line in events.values_list(*fields):
        logs[pk].append(Line(*line))
    dead = set(
        DeadLetter.objects.filter(message_id__gte=first).values_list("message_id", flat=True)
    )
    columns = ("id", "message_id", "state", "queue_name")
    messages = Message.objects.filter(id__gte=first).order_by("id")
    for pk, message_id, state, queue in messages.values_list(*columns):
        yield Story(message_id, state, logs[pk], arrivals[message_id], pk in dead, queue)


def show(total: Counter[str], database: str) -> None:
    columns = [
        "rounds", "kills", "interrupted", "accepted", "delivered", "dead", "duplicates",
        "out of order", "unexplained", "lost",
    ]  # fmt: skip
    print(f"\n| {'database':10} | " + " | ".join(f"{name:>11}" for name in columns) + " |")
    print("|:-----------|" + "-----------:|-" * (len(columns) - 1) + "-----------:|")
    print(f"| {database:10} | " + " | ".join(f"{total[name]:11,}" for name in columns) + " |")


@contextmanager
def empty_site(database: str) -> Iterator[Site]:
    """A site on `sqlite`, on `postgresql` (a server of this run's own) or on the database of a
    URL, which has all tables and no rows; whatever was started of it is killed at the end.
    """
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        url = "" if database == "sqlite" else database
        if database == "postgresql":
            url = stack.enter_context(Cluster()).url
        site = Site(Path(folder), url, **ENVIRONMENT)
        stack.callback(site.stop_all)
        yield site.prepare() if database in {"sqlite", "postgresql"} else site


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--database", default="sqlite", help="sqlite, postgresql or a URL")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with empty_site(options.database) as site:
        os.environ |= site.environment
        django.setup()
        rounds = Rounds(House(site), options.seed)
        for number in range(1, options.rounds + 1):
            rounds.run(number)
    show(rounds.total, options.database.partition(":")[0])
    print("\n".join(rounds.troubles))
    sys.exit(bool(rounds.troubles))


if __name__ == "__main__":
    main()
