import asyncio

import pytest
from asgiref.sync import async_to_sync

from live.together import Together


class Squares:
    """What is asked, and how often."""

    def __init__(self) -> None:
        self.asked: list[set[int]] = []
        self.together = Together(self.read)

    def read(self, keys: set[int]) -> dict[int, int]:
        self.asked.append(keys)
        if 13 in keys:
            raise LookupError("thirteen")
        return {key: key * key for key in keys if key > 0}


@pytest.fixture
def squares():
    return Squares()


async def test_who_asks_in_the_same_moment_is_answered_by_one_read(squares):
    found = await asyncio.gather(*(squares.together.get(number) for number in (1, 2, 2, -3)))
    assert found == [1, 4, 4, None]
    assert squares.asked == [{1, 2, -3}]


async def test_who_asks_later_is_read_anew(squares):
    assert await squares.together.get(2) == 4
    assert await squares.together.get(2) == 4
    assert squares.asked == [{2}, {2}]


async def test_error_reaches_everybody_and_is_over_then(squares):
    answers = await asyncio.gather(
        squares.together.get(1), squares.together.get(13), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [LookupError, LookupError]
    assert await squares.together.get(1) == 1


async def test_who_gives_up_takes_nobody_along(squares):
    one, two = (asyncio.create_task(squares.together.get(number)) for number in (1, 2))
    await asyncio.sleep(0)
    one.cancel()
    assert await two == 4


def test_every_event_loop_has_its_own(squares):
    assert [async_to_sync(squares.together.get)(2) for _ in range(2)] == [4, 4]
