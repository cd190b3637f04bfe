"""Changes that may be refused: of a queue that is not there, or by one schedule too many.

A change is written together with whatever else has gathered at the writer. Should it be
refused, it is undone without disturbing the others, and whoever asked for it is told why.
"""

import functools
from collections.abc import Callable

from django.db import transaction

from broker import lanes
from broker.errors import PublishError
from groupcommit.writer import writer

type Refusable[A] = Callable[[list[A]], list[PublishError | None]]


def refusable[A](change: Callable[[A], None]) -> Refusable[A]:
    """Make a write over a list from a function of one argument that may raise PublishError.

    It is called with the lanes' lock, so it may read, and decide by what it has read.
    """

    def refusal_of(argument: A) -> PublishError | None:
        try:
            with transaction.atomic():
                change(argument)
        except PublishError as refusal:
            return refusal
        return None

    @lanes.locked
    @functools.wraps(change)
    def over_list(arguments: list[A]) -> list[PublishError | None]:
        return [refusal_of(argument) for argument in arguments]

    return over_list


async def make[A](change: Refusable[A], argument: A) -> None:
    """Make a change and wait until it is durable; PublishError if it is refused."""
    if refusal := await writer.write(change, argument):
        raise refusal
