"""Attempts to sign in are rows by address."""

from console.models import SignIns


def test_row_is_named_for_its_address():
    assert str(SignIns(address="192.0.2.1", since=0)) == "192.0.2.1"
