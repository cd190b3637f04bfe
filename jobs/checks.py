"""What must be right before the first message is published.

No message passes here. A task's options are checked when its module is imported, a backend's
settings before the site starts.
https://docs.djangoproject.com/en/6.1/topics/checks/
"""

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error
from django.tasks.exceptions import InvalidTask

from broker.retry import evaluate
from jobs.exceptions import PublishError

if TYPE_CHECKING:
    from jobs.interface import JobBackend, JobTask

ENDPOINT = re.compile(r"[A-Za-z0-9_-]{1,100}")
QUEUE_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
# /api/job-failed is where the queue reports a message that it has given up.
RESERVED_ENDPOINTS = {"job-failed"}


def validate_options(task: "JobTask", registered: "JobTask | None") -> None:
    """Raise InvalidTask for an option that no queue can fulfil.

    `registered` is the task that has this task's endpoint already, if there is one.
    """
    for name, least in {"steps": 0, "retries": 0, "timeout": 1}.items():
        value = getattr(task, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InvalidTask(f"{name}={value!r} must be a whole number of at least {least}.")
    try:
        evaluate(task.retry_delay, retried=0)
    except (ValueError, TypeError) as error:
        raise InvalidTask(f"retry_delay={task.retry_delay!r} {error}.") from error
    if not ENDPOINT.fullmatch(task.endpoint) or task.endpoint in RESERVED_ENDPOINTS:
        raise InvalidTask(
            f"endpoint={task.endpoint!r} must be letters, digits and dashes, and not "
            f"{' or '.join(RESERVED_ENDPOINTS)!r}."
        )
    if registered and registered.module_path != task.module_path:
        raise InvalidTask(
            f"{task.module_path} and {registered.module_path} would both be received at "
            f"/api/{task.endpoint}. Give one of them another endpoint: @task(endpoint=...)."
        )


def check_backend(backend: "JobBackend") -> list[CheckMessage]:
    """Check the settings of one entry of TASKS."""
    errors: list[CheckMessage] = []
    for name in sorted(backend.queues):
        if not QUEUE_NAME.fullmatch(name):
            errors.append(
                Error(
                    f"TASKS[{backend.alias!r}]: {name!r} cannot be the name of a queue.",
                    hint="Use at most 128 letters, digits, dots, dashes and underscores.",
                    id="jobs.E004",
                )
            )
    if not is_parallelism(backend.parallelism, backend.queues):
        errors.append(
            Error(
                f"TASKS[{backend.alias!r}]: OPTIONS['parallelism'] is {backend.parallelism!r}.",
                hint="Map names of QUEUES to whole numbers of at least 1.",
                id="jobs.E005",
            )
        )
    return errors


def is_parallelism(value: Any, queues: set[str]) -> bool:
    """Whether a value maps queues to how many of their messages may run at once."""
    return isinstance(value, dict) and all(
        isinstance(number, int) and number >= 1 and (name in queues or not queues)
        for name, number in value.items()
    )


def check_hosted() -> list[CheckMessage]:
    """A QStash token needs both signing keys and a usable URL beside it."""
    errors: list[CheckMessage] = [
        Error(
            f"QSTASH_TOKEN is set but {name} is not.",
            hint="Copy it from the QStash console, under Signing Keys. Without both keys the "
            "site would refuse every message that QStash delivers.",
            id=f"jobs.E00{number}",
        )
        for number, name in enumerate(
            ["QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"], start=1
        )
        if not getattr(settings, name)
    ]
    try:
        repaired_qstash_url(settings.QSTASH_URL)
    except PublishError as error:
        errors.append(Error(str(error), id="jobs.E003"))
    return errors


def repaired_qstash_url(url: str) -> str:
    """QSTASH_URL without a trailing slash or a `/v2/publish` tail; PublishError if unusable."""
    repaired = url.strip().rstrip("/")
    for tail in ("/publish", "/v2"):
        repaired = repaired.removesuffix(tail).rstrip("/")
    try:
        parts = urlsplit(repaired)
        bare = parts.hostname and parts.port != 0 and not (parts.path or parts.query)
    except ValueError:
        bare = False
    if not bare or parts.scheme not in {"http", "https"}:
        raise PublishError(
            f"QSTASH_URL is {url!r}. It must be the bare address of QStash, such as "
            "https://qstash.upstash.io"
        )
    return repaired
