"""What can go wrong on a message's way, and what a task may raise itself.

A message that cannot be published never leaves the site: `PublishError` says why. A task that
cannot go on tells the queue by `TryAgain` or `GiveUp` whether another attempt can help.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.models import Job


class TryAgain(Exception):
    """Raised by a task: let the queue deliver again, `after` so many seconds if given."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = None if after is None else timedelta(seconds=after)


class CutOff(TryAgain):
    """The delivery has ended before the task did: nobody waits for its answer."""


class GiveUp(Exception):
    """Raised by a task: no further attempt can help. The job fails with this reason."""


class LeaseLost(Exception):
    """Another attempt works on the job now, or the job has ended."""

    def __str__(self) -> str:
        return "another attempt has taken over the job"


class PublishError(Exception):
    """The queue did not take the message. The text says why and what to do.

    `job` is the job that was kept *not sent*, if one was.
    """

    job: "Job | None" = None


class NoRoute(PublishError):
    """QStash could not be reached."""


class PublishTimeout(PublishError):
    """QStash did not answer in time."""


class BadToken(PublishError):
    """QStash does not know the token."""


class RateLimited(PublishError):
    """The account has used up a limit of QStash's."""


class Refused(PublishError):
    """QStash has said no, in words of its own."""


class NotFound(Refused):
    """QStash does not have what it was asked for."""
