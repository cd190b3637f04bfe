"""The log server's lines and its middleware, alone. test_broker_command.py asks a real one."""

import pytest
from django.http import HttpResponse
from django.test import AsyncRequestFactory

from broker.log_server import LogServer, line
from tests.broker.calls import ask

PORT = "9"


async def answer(request):
    return HttpResponse("the queue")


async def asked(settings, method="GET", port=PORT, host="localhost"):
    """What the middleware answers on a port."""
    settings.QSTASH_DEV_LOG_PORT = int(PORT)
    request = AsyncRequestFactory().generic(method, "/")
    request.META |= {"SERVER_PORT": port, "HTTP_HOST": host}
    return await LogServer(answer)(request)


async def test_other_port_is_the_queues(settings):
    assert (await asked(settings, "POST", port="8")).content == b"the queue"


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH", "OPTIONS"])
async def test_port_can_only_be_read(settings, method):
    assert (await asked(settings, method)).status_code == 405


@pytest.mark.parametrize("host", ["", "rebound.example", "localhost.example:9", "[::2]"])
async def test_any_other_name_is_refused(settings, host):
    assert (await asked(settings, host=host)).status_code == 403


@pytest.mark.django_db(transaction=True)
async def test_root_shows_the_log_as_text(settings):
    assert b"Nothing has been published" in (await asked(settings)).content
    told = await ask("POST", "publish/https://target.test/", b"secret")
    shown = (await asked(settings, host="127.0.0.1:9")).content.decode()
    assert f"CREATED          {told.json['messageId']} POST https://target.test/\n" in shown
    assert "secret" not in shown


def test_line_says_when_what_and_why():
    event = {"time": 1_700_000_000_123, "state": "ERROR", "messageId": "msg_1"}
    event |= {"method": "PUT", "url": "http://a.test/", "error": "HTTP 503"}
    assert line(event) == (
        "2023-11-14T22:13:20.123+00:00 ERROR            msg_1 PUT http://a.test/ HTTP 503\n"
    )
