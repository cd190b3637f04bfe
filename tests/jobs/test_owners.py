"""An owner in a message is believed only if this site has sealed it."""

import pytest
from django.core.signing import Signer

from jobs.owners import owner_in, sealed


def test_sealed_owner_is_read_back():
    assert owner_in({"owner": sealed("somebody")}) == "somebody"


@pytest.mark.parametrize("payload", [{}, {"owner": ""}, {"owner": None}, {"owner": sealed("")}])
def test_message_without_an_owner_is_nobodys(payload):
    assert owner_in(payload) == ""


@pytest.mark.parametrize(
    "owner",
    ["somebody", "somebody:", sealed("somebody")[:-1], Signer().sign("somebody"), 7, ["x"]],
)
def test_owner_that_is_not_sealed_is_refused(owner):
    with pytest.raises(ValueError, match="not one that this site has sealed"):
        owner_in({"owner": owner})


def test_owner_sealed_with_another_secret_key_is_refused():
    seal = Signer(key="another", salt="jobs.owner").sign("somebody")
    with pytest.raises(ValueError, match="sealed"):
        owner_in({"owner": seal})
