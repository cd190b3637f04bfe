"""`/v2/keys`: the keys that sign an account's messages, and their rotation.

A message about to be delivered is signed with the current key; its receiver accepts both.
https://upstash.com/docs/qstash/howto/roll-signing-keys
"""

from django.conf import settings
from django.http import JsonResponse

from broker import accounts, lanes
from broker.accounts import Keys, keys_of
from broker.api.lookups import read
from broker.api.requests import Call, refuse
from groupcommit.statements import one_by_one
from groupcommit.writer import writer


@lanes.locked  # two rotations at once would both promise a next key
@one_by_one
def rotate(account: str) -> Keys:
    return accounts.rotate(account)


async def show_keys(call: Call) -> JsonResponse:
    """Answer `{"current", "next"}`."""
    return JsonResponse((await read(lambda: keys_of(call.account)))._asdict())


async def rotate_keys(call: Call) -> JsonResponse:
    """Let the next key sign from now on, and answer the new pair.

    The development users keep theirs: clients know the development server by them.
    """
    if settings.BROKER_DEV_USERS:
        return refuse(403, "the keys of development users are published and cannot be rotated")
    return JsonResponse((await writer.write(rotate, call.account))._asdict())
