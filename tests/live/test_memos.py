import pytest

from live.memos import Memo


@pytest.fixture
def asked():
    return []


async def test_answer_is_kept_for_a_moment(asked):
    memo = Memo(lambda: asked.append(1) or len(asked), fresh_seconds=1000)
    assert [await memo.get() for _ in range(3)] == [1, 1, 1]
    memo.forget()
    assert await memo.get() == 2


async def test_old_answer_is_asked_for_again(asked):
    memo = Memo(lambda: asked.append(1) or len(asked), fresh_seconds=-1)
    assert [await memo.get() for _ in range(2)] == [1, 2]


async def test_false_is_an_answer(asked):
    memo = Memo(lambda: bool(asked.append(1)), fresh_seconds=1000)
    assert [await memo.get() for _ in range(2)] == [False, False]
    assert len(asked) == 1
