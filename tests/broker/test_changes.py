"""Changes that are refused while others of the same write are made."""

import pytest

from broker.changes import make
from broker.clock import now_ms
from broker.errors import LimitReached, NotFound
from broker.models import Queue
from broker.resources import queues
from broker.resources.queues import QueueChange


@pytest.mark.django_db
def test_refused_change_is_undone_and_leaves_the_others_alone(settings):
    settings.BROKER_QUEUES = 2
    changes = [QueueChange("site", name, now_ms()) for name in "abc"]
    first, second, third = queues.upsert(changes)
    assert (first, second, type(third)) == (None, None, LimitReached)
    assert list(Queue.objects.values_list("name", flat=True)) == ["a", "b"]


@pytest.mark.django_db(transaction=True)
async def test_refusal_reaches_whoever_asked():
    with pytest.raises(NotFound, match="nobody"):
        await make(queues.change_existing, QueueChange("site", "nobody", now_ms(), paused=True))
