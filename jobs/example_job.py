"""An example: the job that the strip shows before there is one.

No message passes here, and nothing is saved.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from inspect import Parameter, signature
from typing import Any, NamedTuple

from django.urls import reverse

from jobs.interface import JobTask, new_job
from jobs.models import Job
from jobs.publishers import PUBLISHERS
from jobs.signatures import current_site_url
from jobs.tasks import long_task

STARTED = datetime(2026, 1, 1, 12, tzinfo=UTC)
MOST_STEPS = 3


class Example(NamedTuple):
    """What a page's strip is an example of: the task, and the view where its way begins.

    The view is what the form is posted to or, for a callback, what receives the message.
    `publisher` is one of PUBLISHERS.
    """

    task: JobTask = long_task
    view: Callable[..., Any] | None = None
    publisher: str = "form"

    @property
    def view_path(self) -> str:
        return reverse(self.view.__name__ if self.view else "start_job")

    @property
    def endpoint(self) -> str:
        """Where the queue posts the message."""
        if self.publisher == "callback":
            return self.view_path
        return reverse("receive", args=[self.task.endpoint])


EXAMPLE = Example()


def example_texts(example: Example) -> tuple[str, str, str, str]:
    """What the four boxes say of the way that a job will take."""
    begins = PUBLISHERS[example.publisher].says
    if example.publisher == "form":
        begins += f" to {example.view_path}"
    queue = "keeps the message until it is delivered"
    return begins, queue, f"calls {example.endpoint}, signed", steps_of(example.task)


def steps_of(task: JobTask) -> str:
    if task.steps == 1:
        return "does one step, and notes it"
    return f"does {task.steps} steps, and notes each" if task.steps else "notes each step it does"


def example_job(example: Example = EXAMPLE) -> Job:
    """A job of the task after some of its steps, with the values that a real one would have."""
    site, second = current_site_url() or "https://jobs.example.com", int(STARTED.timestamp())
    arguments = example_arguments(example.task, site)
    job = new_job(example.task, arguments, {}, id="0123456789abcdef" * 2)
    job.created_at = job.started_at = job.last_attempted_at = STARTED
    job.messages = [{"id": "msg_example", "at": second}]
    steps = range(1, min(MOST_STEPS, job.steps_total or MOST_STEPS) + 1)
    job.log = [{"number": n, "at": second + n / 2, "text": "done"} for n in steps]
    headers = {"Upstash-Message-Id": "msg_example", "Upstash-Retried": "0"}
    if example.publisher == "schedule":
        headers["Upstash-Schedule-Id"] = "scd_example"
    job.received = {
        "headers": headers,
        "claims": {
            "iss": "Upstash",
            "sub": site + example.endpoint,
            "exp": second + 300,
            "nbf": 0,
            "iat": second,
            "jti": "jwt_example",
            "body": "the SHA-256 of the body, in base64",
            "key": 0,
        },
    }
    return job


def example_arguments(task: JobTask, site: str) -> list[str]:
    """A value for each argument that the task must have: the address of a bin, or its name."""
    named = list(signature(task.func).parameters.values())[task.takes_context :]
    needed = [each.name for each in named if each.default is Parameter.empty]
    return [f"{site}/catcher/your-bin/" if name == "target_url" else f"<{name}>" for name in needed]
