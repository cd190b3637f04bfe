"""The small interface between tasks and queues: our half of Django's tasks.

`@task` makes a `JobTask` of a function. Enqueueing it saves a job, and publishes a `Letter`
through a `JobBackend`; whoever asks for the job gets a `JobResult`. While the task runs, its
`JobContext` notes each step on the job.
https://docs.djangoproject.com/en/6.1/ref/tasks/
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil
from typing import Any, ClassVar, NamedTuple

from django.core.checks import CheckMessage
from django.dispatch import Signal
from django.tasks import Task, TaskContext, TaskResult, TaskResultStatus
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import TaskError
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
from django.urls import reverse
from django.utils import timezone
from django.utils.json import normalize_json
from django.utils.module_loading import import_string

from groupcommit.writer import single_statement, writer
from jobs import checks
from jobs.attempts import Attempt
from jobs.exceptions import LeaseLost, PublishError
from jobs.models import Job, Transition, claim_jobs, new_job_id, save_transitions
from jobs.signatures import current_site_url

# Every task by its endpoint: `long-task` is received at /api/long-task.
endpoints: dict[str, "JobTask"] = {}
# What a job keeps of its task, should it be published again.
OPTIONS = ("steps", "retries", "retry_delay", "timeout", "callback")
# What has the same name in a task and in its jobs, and in a job and its result.
IN_TASK = ("owner", "backend", "queue_name", "run_after")
IN_RESULT = ["id", "started_at", "last_attempted_at", "finished_at", "args", "kwargs", "backend"]
# To move one job is one UPDATE, which needs no transaction. To claim one, a SELECT comes first.
single_statement(claim_jobs)
single_statement(save_transitions)


@dataclass(frozen=True, kw_only=True)
class JobTask(Task):
    """A task with options of our own, for `@task(...)`; `using(...)` changes them for one job.

    `steps`: how many steps the task notes. `retries`: how often the queue tries again, after
    `retry_delay` (milliseconds, or an expression such as QStash's Upstash-Retry-Delay).
    `timeout`: how many seconds one attempt may take. `endpoint`: the last part of its URL, by
    default its name with dashes. `owner`: whose job it is. `job_id`: names the job, so that
    enqueueing twice starts one. `callback`: the path that the queue reports to.
    """

    steps: int = 0
    retries: int = 3
    retry_delay: str = "1000 * pow(2, retried)"
    timeout: int = 25
    endpoint: str = ""
    owner: str = ""
    job_id: str = ""
    callback: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoint", self.endpoint or self.name.replace("_", "-"))
        super().__post_init__()
        same = endpoints.get(self.endpoint)
        if not same or (same.func, same.options) != (self.func, self.options):
            checks.validate_options(self, same)
            endpoints.setdefault(self.endpoint, self)

    def as_enqueued(self, job: Job) -> "JobTask":
        """This task with the options of one of its jobs."""
        return self.using(**job.options, **{name: getattr(job, name) for name in IN_TASK})

    @property
    def options(self) -> dict[str, Any]:
        """What a job keeps of its task."""
        return {name: getattr(self, name) for name in OPTIONS}

    def using(self, *, run_after: datetime | timedelta | None = None, **options: Any) -> "JobTask":
        """Return the task with other options; `run_after` is a moment or a delay."""
        if isinstance(run_after, timedelta):
            run_after = timezone.now() + run_after
        given = options | {"run_after": run_after}
        return replace(self, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class JobResult(TaskResult):
    """What Django's tasks call a result: a job, as it was when it was read."""

    job: Job

    STATUSES: ClassVar = {
        Job.Status.RUNNING: TaskResultStatus.RUNNING,
        Job.Status.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
        Job.Status.FAILED: TaskResultStatus.FAILED,
        Job.Status.CANCELLED: TaskResultStatus.FAILED,
    }

    @classmethod
    def of(cls, job: Job, task: JobTask | None = None) -> "JobResult":
        result = cls(
            job=job,
            task=task or task_of(job),
            status=cls.STATUSES.get(Job.Status(job.status), TaskResultStatus.READY),
            enqueued_at=job.created_at,
            errors=[task_error(error) for error in job.errors],
            worker_ids=job.workers,
            **{name: getattr(job, name) for name in IN_RESULT},
        )
        object.__setattr__(result, "_return_value", job.return_value)
        return result

    def refresh(self) -> None:
        super().refresh()
        self.job.refresh_from_db()

    async def arefresh(self) -> None:
        await super().arefresh()
        await self.job.arefresh_from_db()


def task_error(error: dict[str, str]) -> TaskError:
    """One of `Job.errors` as Django's tasks tell it."""
    return TaskError(exception_class_path=error["exception"], traceback=error["traceback"])


def task_of(job: Job) -> JobTask:
    """The task of a job, with the options that it was enqueued with."""
    try:
        task: JobTask = import_string(job.task)
        return task.as_enqueued(job)
    except InvalidTask:  # its queue is in the settings no more, for example
        return task
    except (ImportError, AttributeError) as error:
        raise TaskResultDoesNotExist(f"There is no task {job.task} any more.") from error


def new_job(task: JobTask, args: Sequence[Any], kwargs: dict[str, Any], **fields: Any) -> Job:
    """An unsaved job for a task. TypeError if JSON cannot hold the arguments."""
    return Job(
        task=task.module_path,
        args=normalize_json(list(args)),
        kwargs=normalize_json(kwargs),
        steps_total=task.steps,
        options=task.options,
        **{name: getattr(task, name) for name in IN_TASK},
        **{"id": task.job_id or new_job_id(), **fields},
    )


@dataclass(frozen=True, kw_only=True)
class JobContext(TaskContext):
    """What an asynchronous task knows of its job, if it `takes_context`."""

    task_result: JobResult

    @property
    def job_id(self) -> str:
        return self.task_result.job.id

    def steps_left(self) -> Iterator[int]:
        """Yield the numbers of the steps that no attempt has noted yet; the first step is 1."""
        job = self.task_result.job
        yield from range(job.steps_done + 1, job.steps_total + 1)

    async def note(self, text: str) -> None:
        """Record the next step as done, durably. LeaseLost if another attempt has taken over."""
        await save(self.task_result.job.note(text, timezone.now()), patience=0.05)


class SyncJobContext(JobContext):
    """The same for a synchronous task, whose thread waits until a step is recorded."""

    def note(self, text: str) -> None:  # type: ignore[override]
        noted = self.task_result.job.note(text, timezone.now())
        if not writer.submit(save_transitions, noted).result():
            raise LeaseLost


async def announce(signal: Signal, result: JobResult) -> None:
    """Send one of the three signals of Django's tasks.

    Its one receiver only logs, and is called here: a trip to a thread costs more than a small job.
    """
    sender = type(result.task.get_backend())
    if len(signal.receivers) > 1:
        await signal.asend(sender, task_result=result)
    else:
        signal.send(sender, task_result=result)


async def save(transition: Transition, patience: float = 0, flush: bool = True) -> None:
    """Write a transition of a job that this attempt holds; LeaseLost if it does not any more."""
    if not await writer.write(save_transitions, transition, patience, flush):
        raise LeaseLost


NO_SITE = (
    "The queue must know where this site is. Set PUBLIC_URL to its address, such as "
    "https://jobs.example.com, to start jobs outside of a request."
)


class Letter(NamedTuple):
    """A job's message before it is published: QStash's headers are its options.
    https://upstash.com/docs/qstash/api-reference/messages/publish-a-message
    """

    url: str
    headers: dict[str, str]
    body: bytes
    queue_name: str | None


def letter_for(job: Job, task: JobTask) -> Letter:
    """Address a job's message to its task's endpoint. PublishError if this site has no URL."""
    if not (site := current_site_url()):
        raise PublishError(NO_SITE)
    headers = {
        "Content-Type": "application/json",
        "Upstash-Retries": str(task.retries),
        "Upstash-Retry-Delay": task.retry_delay,
        "Upstash-Timeout": f"{task.timeout}s",
        "Upstash-Failure-Callback": site + reverse("job_failed"),
    }
    if task.callback:
        headers["Upstash-Callback"] = site + task.callback
    if job.run_after:
        headers["Upstash-Not-Before"] = str(ceil(job.run_after.timestamp()))
    url = site + reverse("receive", args=[task.endpoint])
    body = json.dumps({"job_id": job.id, "args": job.args, "kwargs": job.kwargs})
    queue_name = None if job.queue_name == "default" else job.queue_name
    return Letter(url, headers, body.encode(), queue_name)


class JobBackend(BaseTaskBackend):
    """What both queues have in common. `name` is what pages and logs call the queue.

    `OPTIONS = {"parallelism": {"mail": 2}}` lets two messages of the queue `mail` run at once.
    """

    name: ClassVar[str]
    task_class = JobTask
    supports_defer = supports_async_task = supports_get_result = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.parallelism: dict[str, int] = self.options.get("parallelism", {})

    def enqueue(self, task: Task, args: Any, kwargs: Any) -> JobResult:
        """Save a job and publish its message; PublishError if the queue does not take it."""
        self.validate_task(task)
        return self.publish(new_job(task, args, kwargs), task)

    async def aenqueue(self, task: Task, args: Any, kwargs: Any) -> JobResult:
        """Do the same without holding a thread or a database connection."""
        self.validate_task(task)
        return await self.apublish(new_job(task, args, kwargs), task)

    def publish(self, job: Job, task: JobTask) -> JobResult:
        """Publish a message for a job that is new, was not sent, has failed or was cancelled."""
        raise NotImplementedError

    async def apublish(self, job: Job, task: JobTask) -> JobResult:
        """Do the same without holding Django's thread while it waits."""
        raise NotImplementedError

    async def acancel(self, job: Job) -> bool:
        """Cancel a job that no attempt works on, and its messages; False if it is too late."""
        raise NotImplementedError

    async def attempts(self, job: Job) -> list[Attempt]:
        """The queue's attempts to deliver a job's messages; PublishError if it cannot say."""
        raise NotImplementedError

    def read_log(self, since: Any) -> tuple[Any, set[str]]:
        """Where to go on, and the jobs that the log has news of; none if that takes a call."""
        return since, set()

    def is_stuck(self) -> bool:
        """Whether messages are due and nothing delivers them."""
        return False

    def is_alive(self) -> bool | None:
        """Whether something delivers messages; None where that is not known."""
        return None

    def get_result(self, result_id: str) -> JobResult:
        """A job as it is now, from any process. TaskResultDoesNotExist for an unknown id."""
        if job := Job.objects.filter(id=result_id, backend=self.alias).first():
            return JobResult.of(job)
        raise TaskResultDoesNotExist(f"There is no job {result_id}.")

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        return checks.check_backend(self)
