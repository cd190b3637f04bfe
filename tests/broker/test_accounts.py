"""Tokens, keys and their rotation."""

import pytest

from broker.accounts import Account, account_for, current_key, keys_of, rotate

ACCOUNTS = {
    "site": {"token": "t1", "current": "sig_1", "next": "sig_2"},
    "shop": {"token": "t2", "current": "sig_3", "next": "sig_4", "read_only_token": "r2"},
}


@pytest.fixture(autouse=True)
def accounts(settings):
    settings.BROKER_ACCOUNTS = ACCOUNTS


@pytest.mark.parametrize(
    ("token", "account"),
    [
        ("t1", Account("site")),
        ("t2", Account("shop")),
        ("r2", Account("shop", read_only=True)),
        ("", None),
        ("T1", None),
        ("t\u00fc", None),
    ],
)
def test_token_names_its_account(token, account):
    assert account_for(token) == account


def test_before_a_rotation_the_settings_hold(db):
    assert keys_of("shop") == ("sig_3", "sig_4")


def test_rotation_makes_the_next_key_current(db):
    rotated = rotate("shop")
    assert rotated.current == "sig_4"
    assert rotated.next.startswith("sig_") and len(rotated.next) >= 30
    assert keys_of("shop") == rotated


def test_rotation_concerns_one_account(db):
    rotate("shop")
    assert keys_of("site") == ("sig_1", "sig_2")


@pytest.mark.parametrize(
    ("account", "configured", "current", "signs"),
    [
        ("shop", None, None, "sig_3"),
        ("shop", "sig_3", "sig_4", "sig_4"),
        ("shop", "sig_of_earlier_settings", "sig_4", "sig_3"),
        ("closed", "sig_5", "sig_6", ""),
    ],
)
def test_key_of_a_rotation_signs_until_the_settings_have_new_ones(
    account, configured, current, signs
):
    assert current_key(account, configured, current) == signs


def test_keys_may_be_rotated_again(db):
    first, second = rotate("shop"), rotate("shop")
    assert second.current == first.next


def test_new_keys_in_the_settings_end_a_rotation(db, settings):
    rotate("site")
    settings.BROKER_ACCOUNTS = ACCOUNTS | {
        "site": {"token": "t1", "current": "sig_9", "next": "sig_10"}
    }
    assert keys_of("site") == ("sig_9", "sig_10")
