"""What the queue tells whoever counts: Django signals, sent only if somebody listens.

A message's attempt has ended and is written down. Nothing here changes what becomes of it;
operations/instruments.py listens when metrics are on.
"""

from django.dispatch import Signal

# After each attempt, on the dispatcher's event loop: `settlement` as settling.py has written it
# down, `seconds` as the attempt took.
attempt_settled = Signal()
