"""`/v2/keys`: shown, rotated, and what the dispatcher signs with afterwards."""

import jwt
import pytest

from broker.dispatcher import Dispatcher
from broker.models import Message
from broker.publishing import store_lists
from broker.signing import sign
from groupcommit.writer import writer
from tests.broker.calls import ask
from tests.broker.messages import NOW, OK, new_message

pytestmark = pytest.mark.django_db(transaction=True)


class Signer:
    """Takes the place of `delivery.deliver`: signs, and keeps the signatures."""

    def __init__(self) -> None:
        self.signatures: list[str] = []

    async def __call__(self, session: object, message: Message, key: str):
        self.signatures.append(sign(message.url, bytes(message.body), key, NOW // 1000))
        return OK


async def test_keys_are_those_of_the_settings_at_first(settings):
    answer = await ask("GET", "keys")
    assert (answer.status, answer.json) == (
        200,
        {
            "current": settings.QSTASH_CURRENT_SIGNING_KEY,
            "next": settings.QSTASH_NEXT_SIGNING_KEY,
        },
    )


async def test_rotation_makes_the_next_key_current():
    before = (await ask("GET", "keys")).json
    rotated = (await ask("POST", "keys/rotate")).json
    assert rotated["current"] == before["next"]
    assert rotated["next"].startswith("sig_")
    assert rotated["next"] not in before.values()
    assert (await ask("GET", "keys")).json == rotated


async def test_former_next_key_signs_from_the_rotation_on():
    before = (await ask("GET", "keys")).json
    signer = Signer()
    for rotate in (False, True):
        if rotate:
            await ask("POST", "keys/rotate")
        await writer.write(store_lists, [new_message()])
        assert await Dispatcher(signer, lambda: NOW).run_once() == 1
    for signature, key in zip(signer.signatures, (before["current"], before["next"]), strict=True):
        options = {"verify_exp": False, "verify_iat": False}
        assert jwt.decode(signature, key, algorithms=["HS256"], options=options)


async def test_new_keys_in_the_settings_end_a_rotation(settings):
    await ask("POST", "keys/rotate")
    site = settings.BROKER_ACCOUNTS["site"] | {"current": "sig_new", "next": "sig_newer"}
    settings.BROKER_ACCOUNTS = {"site": site}
    assert (await ask("GET", "keys")).json == {"current": "sig_new", "next": "sig_newer"}


async def test_rotation_leaves_other_accounts_alone(settings):
    other = {"token": "other-token", "current": "sig_a", "next": "sig_b"}
    settings.BROKER_ACCOUNTS = settings.BROKER_ACCOUNTS | {"other": other}
    await ask("POST", "keys/rotate")
    keys = await ask("GET", "keys", token="other-token")
    assert keys.json == {"current": "sig_a", "next": "sig_b"}


async def test_keys_of_development_users_stay_as_they_are(settings):
    settings.BROKER_DEV_USERS = True
    before = (await ask("GET", "keys")).json
    answer = await ask("POST", "keys/rotate")
    assert (answer.status, "development users" in answer.error) == (403, True)
    assert (await ask("GET", "keys")).json == before


async def test_read_only_token_sees_keys_but_does_not_rotate(settings):
    site = settings.BROKER_ACCOUNTS["site"] | {"read_only_token": "may-read"}
    settings.BROKER_ACCOUNTS = {"site": site}
    assert (await ask("GET", "keys", token="may-read")).status == 200
    assert (await ask("POST", "keys/rotate", token="may-read")).status == 403
