"""A Django signal for each committed batch, for metrics.

No message passes here. operations/instruments.py receives the signal when metrics are on.
"""

from django.dispatch import Signal

# After each batch, on the writer's thread: `size`, how many writes were in it.
batch_written = Signal()
