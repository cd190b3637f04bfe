"""A site that could never receive its messages must not start."""

import pytest
from django.core.checks import run_checks

from jobs.checks import hosted_queue_is_configured


@pytest.fixture
def problems(settings):
    """What the check says of a hosted queue, with some settings changed."""

    def problems(**changes: str) -> list[str]:
        given = {"QSTASH_TOKEN": "token", "QSTASH_URL": "https://qstash.upstash.io"}
        for name, value in ({"QUEUE_BACKEND": "hosted"} | given | changes).items():
            setattr(settings, name, value)
        return [str(error.msg) for error in hosted_queue_is_configured(None)]

    return problems


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


def test_embedded_queue_needs_nothing(problems):
    assert problems(QUEUE_BACKEND="embedded", QSTASH_CURRENT_SIGNING_KEY="") == []


def test_manage_py_runs_the_check(problems, db):
    problems(QSTASH_NEXT_SIGNING_KEY="")
    assert [problem.id for problem in run_checks()] == ["jobs.E002"]
