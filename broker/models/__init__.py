"""The tables of the embedded queue: where messages are between two steps.

A publisher's message becomes a `Message` row (message.py), which may wait in a lane (lanes.py).
Every step adds an `Event` to its log, and a message that fails becomes a `DeadLetter` (log.py).
Times are unix milliseconds throughout, as on QStash's wire.
"""

from broker.models.accounts import SigningKeys
from broker.models.lanes import FlowControl, Lane, Queue
from broker.models.log import DeadLetter, Event
from broker.models.message import CLAIMED_STATES, FINAL_STATES, WAITING_STATES, Message, Row, State
from broker.models.pulse import Pulse, dispatcher_is_alive, queue_is_stuck, remove_stale_pulses
from broker.models.schedules import Schedule
from broker.models.url_groups import Endpoint, UrlGroup

__all__ = [
    "CLAIMED_STATES",
    "FINAL_STATES",
    "WAITING_STATES",
    "DeadLetter",
    "Endpoint",
    "Event",
    "FlowControl",
    "Lane",
    "Message",
    "Pulse",
    "Queue",
    "Row",
    "Schedule",
    "SigningKeys",
    "State",
    "UrlGroup",
    "dispatcher_is_alive",
    "queue_is_stuck",
    "remove_stale_pulses",
]
