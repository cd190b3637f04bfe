"""What the examples' tests share: strangers, sites, a mail server, queued jobs."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest

from harness.mail_server import MailServer
from harness.processes import Site, site
from jobs.interface import JobTask, new_job
from jobs.models import Job
from jobsite.settings import mailer
from tests.jobs.conftest import cloud, hosted, running_cloud, running_sink, sink

__all__ = ["cloud", "hosted", "running_cloud", "running_sink", "sink"]
TOKEN, KEYS = "token-of-the-cloud", ("sig_of_the_cloud", "sig_of_the_cloud_to_come")


@pytest.fixture(scope="module", params=["embedded", "hosted"])
def either(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A running site. A second instance of it stands in for hosted QStash, over HTTP."""
    keys = {"QSTASH_CURRENT_SIGNING_KEY": KEYS[0], "QSTASH_NEXT_SIGNING_KEY": KEYS[1]}
    with ExitStack() as stack:
        own = {}
        if request.param == "hosted":
            folder = tmp_path_factory.mktemp("cloud")
            cloud = stack.enter_context(site(folder, BROKER_TOKEN=TOKEN, **keys))
            cloud.start_web()
            own = {"QSTASH_URL": cloud.url, "QSTASH_TOKEN": TOKEN} | keys
        running = stack.enter_context(site(tmp_path_factory.mktemp(request.param), **own))
        running.start_web()
        yield running


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
