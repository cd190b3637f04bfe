"""A Django signal for each attempt, for metrics.

A message's attempt has ended and has been recorded. The signal changes nothing about the message;
operations/instruments.py receives it when metrics are on.
"""

from django.dispatch import Signal

# After each attempt, on the dispatcher's event loop: `settlement`, as settling.py has recorded it,
# and `seconds`, how long the attempt took.
attempt_settled = Signal()
