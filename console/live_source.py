"""Tell open pages of the queue that something has happened to messages.

No message passes here. `live/reader.py` calls this for all pages of a process; a list of messages
and the page of one watch `messages`, the list of dead letters watches `letters`.
"""

from broker.models import DeadLetter, Event
from console.search import ACCOUNT

# A busy queue changes all the time, and each change is a search for every page that is open.
EVERY_SECONDS = 1.0
# Ids are given before their transactions commit, so a smaller one may appear later.
LOOK_BACK = 200


def read_logged(since: frozenset[int] | None) -> tuple[frozenset[int], set[str]]:
    """The newest lines of the log, and the topic if there is one that was not there before."""
    lines = Event.objects.filter(account=ACCOUNT).order_by("-id")
    newest = frozenset(lines.values_list("id", flat=True)[:LOOK_BACK])
    # A line that has slipped down because newer ones were deleted is no news.
    is_news = since is not None and any(line > min(since, default=0) for line in newest - since)
    return newest, {"messages"} if is_news else set()


def read_letters(since: frozenset[int] | None) -> tuple[frozenset[int], set[str]]:
    """The newest dead letters, and the topic if some have come or gone."""
    letters = DeadLetter.objects.filter(account=ACCOUNT).order_by("-id")
    newest = frozenset(letters.values_list("id", flat=True)[:LOOK_BACK])
    return newest, {"letters"} if since is not None and newest != since else set()
