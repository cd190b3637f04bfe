"""How tests/kill_rounds.py judges a round: nothing lost, and no delivery without a reason.

The publishers' file says what was accepted, the receiver's what arrived, the queue's own log
how each attempt ended. An attempt may end without an answer, and its message be delivered
again, only if a kill explains it: of the dispatcher that held it, or of the receiver. A queue
keeps its order in any case.
"""

from collections.abc import Iterable
from typing import NamedTuple

# Written out, so that the judge does not rely on the code it judges.
ENDS = {"DELIVERED", "FAILED", "CANCELED"}


class Kill(NamedTuple):
    """A kill -9: of whom, from when until when (unix ms) it may have cost attempts, and for a
    dispatcher which messages it held.
    """

    victim: str
    since: int
    until: int
    held: frozenset[str] = frozenset()

    def explains(self, message_id: str, attempt: "LoggedAttempt") -> bool:
        together = attempt.started <= self.until and attempt.ended >= self.since
        if attempt.end == "lost":
            return together and message_id in self.held
        return together and self.victim == "receiver"


class Line(NamedTuple):
    """One line of a message's log, as far as it matters here; `number` orders all lines."""

    number: int
    state: str
    time: int
    error: str = ""
    status: int | None = None


class LoggedAttempt:
    """An attempt according to the queue's own log: `end` is `answered`, `no answer` or `lost`."""

    def __init__(self, started: int) -> None:
        self.started, self.ended, self.end = started, started, "unfinished"
        self.arrivals: list[int] = []

    def finish(self, line: Line) -> None:
        self.ended = line.time
        self.end = "answered" if line.status else "lost" if "lost" in line.error else "no answer"

    @property
    def interrupted(self) -> bool:
        return self.end in {"lost", "no answer"}


class Story(NamedTuple):
    """All that is known of a message: its state, its log, when it arrived and how each arrival
    was answered, whether it is a dead letter, and its queue.
    """

    message_id: str
    state: str
    log: list[Line]
    arrivals: list[tuple[int, int]]
    has_dead_letter: bool = False
    queue: str | None = None


class Findings(NamedTuple):
    """What a message adds to the table; `troubles` says in words what must not happen."""

    lost: int
    interrupted: int
    duplicates: int
    troubles: list[str]


def attempts_of(story: Story) -> list[LoggedAttempt]:
    """A message's attempts, each with what arrived since it began."""
    attempts: list[LoggedAttempt] = []
    for line in story.log:
        if line.state == "ACTIVE":
            attempts.append(LoggedAttempt(line.time))
        elif line.state in {"ERROR", "DELIVERED"}:
            attempts[-1].finish(line)
    for at, _ in story.arrivals:
        begun = [attempt for attempt in attempts if attempt.started <= at]
        if begun:
            begun[-1].arrivals.append(at)
    return attempts


def examine(story: Story, kills: Iterable[Kill]) -> Findings:
    """Judge a message by its story and by the kills of its round."""
    troubles = []
    accepted = any(status == 200 for _, status in story.arrivals)
    buried = story.state == "FAILED" and story.has_dead_letter
    lost = not (story.state == "DELIVERED" and accepted) and not buried
    if lost:
        troubles.append(f"lost: {story.state}, arrived {len(story.arrivals)} times")
    attempts, duplicates = attempts_of(story), 0
    for number, attempt in enumerate(attempts, start=1):
        explained = any(kill.explains(story.message_id, attempt) for kill in kills)
        if attempt.interrupted and not explained:
            troubles.append(f"attempt {number} ended as {attempt.end!r} and no kill explains it")
        if attempt.interrupted and number < len(attempts):
            duplicates += len(attempt.arrivals)
        if len(attempt.arrivals) > 1:
            troubles.append(f"attempt {number} arrived {len(attempt.arrivals)} times")
    if sum(len(attempt.arrivals) for attempt in attempts) < len(story.arrivals):
        troubles.append("it arrived before any attempt")
    ends = [line.state for line in story.log if line.state in ENDS]
    if len(ends) > 1:
        troubles.append(f"it ended {len(ends)} times: {', '.join(ends)}")
    interrupted = sum(attempt.interrupted for attempt in attempts)
    return Findings(int(lost), interrupted, duplicates, troubles)


def out_of_order(stories: Iterable[Story]) -> list[str]:
    """Where a queue with parallelism 1 began a message before the one accepted earlier was over.

    `stories` are in the order of acceptance.
    """
    troubles, over, before = [], 0, ""
    for story in stories:
        begun = [line.number for line in story.log if line.state == "ACTIVE"]
        if story.queue and begun:
            if begun[0] < over:
                troubles.append(f"{story.message_id} began before {before} was over")
            over, before = story.log[-1].number, story.message_id
    return troubles
