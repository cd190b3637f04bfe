"""What a dispatcher writes of itself: that it is alive, and that it leaves.

Its messages are being delivered. Each pulse renews their claims; whoever leaves gives back what it
still holds, so that the others claim it at once.
"""

from broker import wakeup
from broker.claiming import give_back, renew
from broker.models import Pulse, remove_stale_pulses
from groupcommit.statements import one_by_one


@one_by_one
def show_pulse(pulse: tuple[str, int, int, int]) -> None:
    """Record that a dispatcher is alive, and renew its claims."""
    name, now, in_flight, lease_ms = pulse
    Pulse.objects.update_or_create(
        dispatcher=name, defaults={"seen_at": now, "in_flight": in_flight}
    )
    remove_stale_pulses(now)
    if in_flight:
        renew(name, now, lease_ms)


@one_by_one
def leave(dispatcher: tuple[str, int]) -> int:
    """Give back what a dispatcher still holds, return how many messages, and delete its pulse."""
    name, now = dispatcher
    given_back = give_back(name, now)
    if given_back:
        wakeup.on_commit()
    remove_stale_pulses(now, [name])
    return given_back
