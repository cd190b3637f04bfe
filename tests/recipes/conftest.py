"""What the examples' tests share: strangers, a mail server, jobs as their message finds them."""

from collections.abc import Awaitable, Callable, Iterator

import pytest

from harness.mail_server import MailServer
from jobs.interface import JobTask, new_job
from jobs.models import Job
from jobsite.settings import mailer
from tests.jobs.conftest import cloud, hosted, running_cloud, running_sink, sink

__all__ = ["cloud", "hosted", "running_cloud", "running_sink", "sink"]


@pytest.fixture
def mail_server(settings) -> Iterator[MailServer]:
    """A mail server, named in the settings as EMAIL_URL names one."""
    with MailServer() as server:
        settings.MAILERS = {"default": mailer(server.url)}
        settings.EMAIL_URL, settings.MAIL_IS_ON = server.url, True
        yield server


@pytest.fixture
def printed_mail(settings) -> None:
    """As in development: mail is on, and goes nowhere."""
    settings.MAIL_IS_ON = True


type QueuedJob = Callable[..., Awaitable[Job]]


@pytest.fixture
def queued_job(transactional_db) -> QueuedJob:
    """Save a published job of a task: `await queued_job(task, arguments…)`."""

    async def queued_job(task: JobTask, /, *args: object, **fields: object) -> Job:
        job = new_job(task, args, {})
        own = {"status": "queued", "messages": [{"id": "msg_1", "at": 1_700_000_000.0}]}
        for name, value in (own | fields).items():
            setattr(job, name, value)
        await job.asave()
        return job

    return queued_job
