"""The entry point of the servers. Its limit of a body is tested in test_servers.py."""

import pytest
from asgiref.testing import ApplicationCommunicator

from jobsite.asgi import Site


async def test_server_starts_and_ends_without_a_dispatcher(settings):
    settings.RUN_DISPATCHER = False
    server = ApplicationCommunicator(Site(), {"type": "lifespan"})
    for event in ("startup", "shutdown"):
        await server.send_input({"type": f"lifespan.{event}"})
        assert await server.receive_output() == {"type": f"lifespan.{event}.complete"}
    await server.wait()


async def test_other_protocols_are_refused():
    with pytest.raises(ValueError, match="does not support websocket"):
        await Site()({"type": "websocket"}, None, None)
