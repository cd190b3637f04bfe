"""The tasks of Django's documentation, and some that use what we add to them.

https://docs.djangoproject.com/en/6.1/topics/tasks/
"""

from typing import Any

from django.core.mail import send_mail
from django.tasks import TaskContext, task

from jobs.interface import JobContext
from jobs.models import Job


@task
def email_users(emails: list[str], subject: str, message: str) -> int:
    return send_mail(subject=subject, message=message, from_email=None, recipient_list=emails)


@task(takes_context=True)
def email_with_context(context: TaskContext, emails: list[str], subject: str) -> int:
    body = f"attempt {context.attempt} of {context.task_result.id}"
    return send_mail(subject=subject, message=body, from_email=None, recipient_list=emails)


@task()
def double_dictionary(key: Any) -> dict[Any, Any]:
    return {key: key * 2}


@task
def count_jobs() -> int:
    return Job.objects.count()


@task
async def echo(*args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"args": args, "kwargs": kwargs}


@task
async def return_no_number() -> float:
    return float("nan")


@task(takes_context=True, steps=3)
async def three_steps(context: JobContext, stop_before: int = 0) -> list[int]:
    """Note three steps; the first attempt stops before one of them, if told to."""
    done = []
    for number in context.steps_left():
        if number == stop_before and context.attempt == 1:
            raise ValueError(f"stopped before step {number}")
        await context.note(f"step {number}")
        done.append(number)
    return done


@task(retries=1, retry_delay="500", timeout=5, endpoint="one-try-more")
async def with_options() -> None:
    """A task whose message differs from the usual ones."""


async def no_task(context: JobContext) -> None:
    """A function to make tasks of."""


async def no_context(other: Any) -> None:
    """Another one, whose first argument is not the context."""
