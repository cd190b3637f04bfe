"""Changes that may be refused: the queue does not exist, or there are too many schedules.

A change is written together with the other writes of a batch. If it is refused, it alone is
undone, and the caller gets the error.
"""

import functools
from collections.abc import Callable

from django.db import transaction

from broker import lanes
from broker.errors import Rejected
from groupcommit.writer import writer

type Refusable[A] = Callable[[list[A]], list[Rejected | None]]


def refusable[A](change: Callable[[A], None]) -> Refusable[A]:
    """Make a write over a list from a function of one argument that may raise Rejected.

    It runs with the lanes' lock, so what it reads does not change before it has decided.
    """

    def refusal_of(argument: A) -> Rejected | None:
        try:
            with transaction.atomic():
                change(argument)
        except Rejected as refusal:
            return refusal
        return None

    @lanes.locked
    @functools.wraps(change)
    def over_list(arguments: list[A]) -> list[Rejected | None]:
        return [refusal_of(argument) for argument in arguments]

    return over_list


async def make[A](change: Refusable[A], argument: A) -> None:
    """Make a change and wait until it is durable; Rejected if it is refused."""
    if refusal := await writer.write(change, argument):
        raise refusal
