"""Tasks that end in every way a task can end."""

import asyncio
import threading

from django.tasks import task

from jobs.exceptions import GiveUp, TryAgain
from jobs.interface import JobContext, SyncJobContext

released = asyncio.Event()


@task
def add(a: int, b: int) -> int:
    return a + b


@task
def try_again_in_an_hour() -> None:
    raise TryAgain("the limit is used up", after=3600)


@task
async def give_up() -> None:
    raise GiveUp("no such address")


@task
def broken() -> float:
    return 1 / 0


@task
async def broken_async() -> float:
    return 1 / 0


@task
def exits() -> None:
    raise SystemExit(1)


@task
def returns_a_set() -> set[int]:
    return {1}


@task
def name_of_thread() -> str:
    return threading.current_thread().name


@task(takes_context=True, steps=3)
def count_to_three(context: SyncJobContext) -> None:
    for number in context.steps_left():
        context.note(["one", "two", "three"][number - 1])


@task(takes_context=True)
async def wait_for_release(context: JobContext) -> None:
    await released.wait()
