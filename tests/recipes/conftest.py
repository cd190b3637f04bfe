"""What the examples' tests share: strangers, sites, a mail server, queued jobs."""

from collections.abc import Awaitable, Callable, Iterator

import pytest

from harness.mail_server import MailServer
from harness.processes import Site, site
from jobs.interface import JobTask, new_job
from jobs.models import Job
from jobsite.settings import mailer
from tests.jobs.conftest import cloud, hosted, running_cloud, running_sink, sink

__all__ = ["cloud", "hosted", "running_cloud", "running_sink", "sink"]
TOKEN = "token-of-the-cloud"
KEYS = {
    "QSTASH_CURRENT_SIGNING_KEY": "sig_of_the_cloud",
    "QSTASH_NEXT_SIGNING_KEY": "sig_of_the_cloud_to_come",
}


@pytest.fixture(scope="session")
def cloud_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running site that stands in for hosted QStash, over HTTP."""
    with site(tmp_path_factory.mktemp("cloud"), BROKER_TOKEN=TOKEN, **KEYS) as running:
        running.start_web()
        yield running


@pytest.fixture(scope="session")
def cloud_settings(cloud_site: Site) -> dict[str, str]:
    """The environment of a site whose queue is that one."""
    return {"QSTASH_URL": cloud_site.url, "QSTASH_TOKEN": TOKEN, **KEYS}


@pytest.fixture(scope="session")
def hosted_site(
    tmp_path_factory: pytest.TempPathFactory, cloud_settings: dict[str, str]
) -> Iterator[Site]:
    """A running site with hosted QStash."""
    with site(tmp_path_factory.mktemp("hosted"), **cloud_settings) as running:
        running.start_web()
        yield running


@pytest.fixture(scope="session")
def embedded_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running site with a queue of its own."""
    with site(tmp_path_factory.mktemp("embedded")) as running:
        running.start_web()
        yield running


@pytest.fixture(params=["embedded_site", "hosted_site"])
def either(request: pytest.FixtureRequest) -> Site:
    """A running site with either queue. In any order of tests, each is started once."""
    running: Site = request.getfixturevalue(request.param)
    return running


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
