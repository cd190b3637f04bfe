"""Who may use the queue: tokens, and the keys that sign each account's messages.

A publisher's token says whose the message is; its account's current key signs it at every
attempt. Tokens and keys are settings; a rotation is a row, as it must survive a restart.
"""

import hmac
from typing import NamedTuple

from django.conf import settings

from broker.ids import new_id
from broker.models import SigningKeys


class Account(NamedTuple):
    """Whom a token belongs to, and whether it may write."""

    name: str
    read_only: bool = False


def account_for(token: str) -> Account | None:
    """The account a token belongs to, compared in constant time; None if there is none."""
    found = None
    for name, account in settings.BROKER_ACCOUNTS.items():
        if same(token, account["token"]):
            found = Account(name)
        if same(token, account.get("read_only_token", "")):
            found = Account(name, read_only=True)
    return found


def same(token: str, known: str) -> bool:
    return bool(known) and hmac.compare_digest(token.encode(), known.encode())


class Keys(NamedTuple):
    """An account's pair of signing keys, `sig_…` each."""

    current: str
    next: str


def keys_of(account: str) -> Keys:
    """The keys an account signs with; KeyError for an account that is not in the settings."""
    configured = settings.BROKER_ACCOUNTS[account]
    row = SigningKeys.objects.filter(account=account).first()
    if row and row.configured == configured["current"]:
        return Keys(row.current, row.next)
    return Keys(configured["current"], configured["next"])


def current_key(account: str, configured: str | None, current: str | None) -> str:
    """The key that signs now, from the columns of `SigningKeys`; empty for an unknown account.

    New keys in the settings end an earlier rotation.
    """
    of_settings: str = settings.BROKER_ACCOUNTS.get(account, {}).get("current", "")
    return current if current and configured == of_settings else of_settings


def rotate(account: str) -> Keys:
    """Let the next key sign from now on, and make a new next one. In a transaction."""
    keys = keys_of(account)
    rotated = Keys(keys.next, new_id("sig"))
    SigningKeys.objects.update_or_create(
        account=account,
        defaults={
            "configured": settings.BROKER_ACCOUNTS[account]["current"],
            "current": rotated.current,
            "next": rotated.next,
        },
    )
    return rotated
