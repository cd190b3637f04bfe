"""What a task may raise, and what it says."""

from datetime import timedelta

import pytest

from jobs import exceptions
from jobs.exceptions import LeaseLost, PublishError, TryAgain


def test_try_again_counts_in_seconds():
    assert TryAgain("limit used up", after=90).after == timedelta(seconds=90)
    assert TryAgain("limit used up").after is None


def test_lost_lease_says_what_has_happened():
    assert str(LeaseLost()) == "another attempt has taken over the job"


@pytest.mark.parametrize(
    "name", ["NoRoute", "PublishTimeout", "BadToken", "RateLimited", "Refused"]
)
def test_every_reason_not_to_publish_can_be_caught_at_once(name):
    error = getattr(exceptions, name)("why")
    assert isinstance(error, PublishError)
    assert error.job is None
