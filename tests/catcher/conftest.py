"""Put requests into the bin `b`."""

from collections.abc import Callable

import pytest

from catcher.models import Entry


@pytest.fixture
def caught(db) -> Callable[..., int]:
    """Put requests into the bin `b`; the newest one's id."""

    def caught(*bodies: bytes, **fields) -> int:
        given = {"bin": "b", "method": "POST", "path": "/catcher/b/"} | fields
        return [Entry.objects.create(body=body, **given).id for body in bodies][-1]

    return caught
