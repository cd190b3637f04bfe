"""Tests of connections run on both event loops: uvloop's, as in production, and Python's own."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

ON_BOTH = {
    "test_connections.py",
    "test_delivery.py",
    "test_exchange.py",
    "test_hostile_destinations.py",
    "test_resolver.py",
}


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops = {"asyncio": asyncio.new_event_loop}
    return loops | {"uvloop": uvloop.new_event_loop} if item.path.name in ON_BOTH else loops
