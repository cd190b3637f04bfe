"""A site that could never receive its messages must not start."""

from collections.abc import Callable

import pytest
from django.core.checks import run_checks
from django.tasks import task_backends

from jobs.checks import repaired_qstash_url
from jobs.exceptions import PublishError


@pytest.fixture
def problems(settings) -> Callable[..., list[str]]:
    """What the checks say of a hosted queue, with some settings changed."""

    def problems(**changes: str) -> list[str]:
        given = {"QSTASH_TOKEN": "token", "QSTASH_URL": "https://qstash.upstash.io"}
        for name, value in (given | changes).items():
            setattr(settings, name, value)
        settings.TASKS = {"default": {"BACKEND": "jobs.backends.HostedQueue"}}
        return [str(error.msg) for error in task_backends["default"].check()]

    return problems


@pytest.fixture(params=["jobs.backends.EmbeddedQueue", "jobs.backends.HostedQueue"])
def ids(request, settings) -> Callable[..., list[str]]:
    """The ids of what the checks say of a backend with these parameters, for both queues."""
    settings.QSTASH_URL = "https://qstash.upstash.io"

    def ids(**parameters: object) -> list[str]:
        settings.TASKS = {"default": {"BACKEND": request.param} | parameters}
        return [str(error.id) for error in task_backends["default"].check()]

    return ids


def test_hosted_queue_with_everything_is_right(problems):
    assert problems() == []


@pytest.mark.parametrize("name", ["QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"])
def test_missing_key_is_named(problems, name):
    assert problems(**{name: ""}) == [f"QSTASH_TOKEN is set but {name} is not."]


def test_both_missing_keys_are_named(problems):
    assert len(problems(QSTASH_CURRENT_SIGNING_KEY="", QSTASH_NEXT_SIGNING_KEY="")) == 2


def test_unusable_qstash_url_is_shown(problems):
    (problem,) = problems(QSTASH_URL="qstash.upstash.io")
    assert "QSTASH_URL is 'qstash.upstash.io'" in problem


def test_repairable_qstash_url_is_right(problems):
    assert problems(QSTASH_URL="https://qstash.upstash.io/v2/publish/") == []


def test_embedded_queue_needs_no_account(settings):
    settings.QSTASH_CURRENT_SIGNING_KEY = settings.QSTASH_URL = ""
    assert task_backends["default"].check() == []


def test_manage_py_runs_the_checks(problems, db):
    problems(QSTASH_NEXT_SIGNING_KEY="")
    found = [problem.id for problem in run_checks()]
    assert [name for name in found if name.startswith("jobs.")] == ["jobs.E002"]


@pytest.mark.parametrize("name", ["mail", "mail.slow", "MAIL_2", "m" * 128])
def test_name_that_a_queue_can_have_is_right(ids, name):
    assert ids(QUEUES=["default", name]) == []


@pytest.mark.parametrize("name", ["", "slow mail", "mail/slow", "möwe", "m" * 129])
def test_name_that_no_queue_can_have_is_named(ids, name):
    assert ids(QUEUES=["default", name]) == ["jobs.E004"]


def test_parallelism_of_a_queue_is_right(ids):
    assert ids(QUEUES=["default", "mail"], OPTIONS={"parallelism": {"mail": 2}}) == []


@pytest.mark.parametrize("parallelism", [0, -1, "2", 1.5, None])
def test_parallelism_that_no_queue_can_have_is_wrong(ids, parallelism):
    options = {"parallelism": {"mail": parallelism}}
    assert ids(QUEUES=["default", "mail"], OPTIONS=options) == ["jobs.E005"]


def test_parallelism_of_an_unknown_queue_is_wrong(ids):
    assert ids(OPTIONS={"parallelism": {"mail": 2}}) == ["jobs.E005"]


def test_parallelism_for_all_queues_at_once_is_wrong(ids):
    assert ids(OPTIONS={"parallelism": 2}) == ["jobs.E005"]


def test_backend_that_takes_any_queue_may_limit_any(ids):
    assert ids(QUEUES=[], OPTIONS={"parallelism": {"mail": 2}}) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://qstash.upstash.io",
        "https://qstash.upstash.io/",
        "https://qstash.upstash.io/v2",
        "https://qstash.upstash.io/v2/",
        "https://qstash.upstash.io/v2/publish",
        "https://qstash.upstash.io/v2/publish/",
        " https://qstash.upstash.io ",
    ],
)
def test_qstash_url_is_repaired(url):
    assert repaired_qstash_url(url) == "https://qstash.upstash.io"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "qstash.upstash.io",
        "ftp://qstash.upstash.io",
        "https://",
        "https://qstash.upstash.io/v2/publish/https://jobs.example.com",
        "https://qstash.upstash.io?token=x",
        "https://[",
        "https://qstash.upstash.io:port",
        "https://qstash.upstash.io:0",
    ],
)
def test_unusable_qstash_url_is_refused_in_words(url):
    with pytest.raises(PublishError, match="must be the bare address of QStash"):
        repaired_qstash_url(url)
