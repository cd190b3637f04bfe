"""Who may use the queue: tokens, and the keys that sign each account's messages.

A publisher's token says whose the message is; its account's current key signs it at every
attempt. Tokens and keys are settings; a rotation is a row, as it must survive a restart.
"""

import hmac
from collections.abc import Iterable
from typing import NamedTuple

from django.conf import settings
from django.db import connection

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


def keys_of(account: str, rotated: Iterable[SigningKeys] | None = None) -> Keys:
    """The keys an account signs with; KeyError for an account that is not in the settings.

    New keys in the settings end an earlier rotation.
    """
    configured = settings.BROKER_ACCOUNTS[account]
    for row in SigningKeys.objects.filter(account=account) if rotated is None else rotated:
        if row.account == account and row.configured == configured["current"]:
            return Keys(row.current, row.next)
    return Keys(configured["current"], configured["next"])


def current_keys() -> dict[str, str]:
    """The key that signs now, for every account."""
    with connection.cursor() as cursor:  # read at every claim, so without Django's query compiler
        cursor.execute("SELECT account, configured, current, next FROM broker_signingkeys")
        rotated = [SigningKeys(*row) for row in cursor.fetchall()]
    return {name: keys_of(name, rotated).current for name in settings.BROKER_ACCOUNTS}


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
